"""YAML: what is read as what, what is refused, and that nothing else ever happens."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from common.errors import ConfigError
from common.settings import read_yaml
from common.strict_yaml import MAX_DEPTH, MAX_VALUES, YamlProblemError, parse
from scaler.config.load import load_config
from scaler.config.schema import schema
from tests.support.settings_classes import settings_classes


def refusal(act: Callable[[], Any]) -> tuple[Any, str]:
    """What `act` returns, or what it says in refusing: a line, printable and of bounded length."""
    try:
        return act(), ""
    except ConfigError as error:
        said = str(error)
    assert said.isprintable()
    assert len(said) < 500
    return None, said


READ: dict[str, Any] = {
    "yes": "yes",
    "no": "no",
    "on": "on",
    "off": "off",
    "y": "y",
    "true": True,
    "False": False,
    "null": None,
    "~": None,
    "": None,
    "10": 10,
    "-3": -3,
    "+3": 3,
    "0": 0,
    "010": "010",
    "0o10": "0o10",
    "0x1F": "0x1F",
    "0b1": "0b1",
    "1_000": "1_000",
    "1:30": "1:30",
    "1.5": 1.5,
    ".5": 0.5,
    "1.": 1.0,
    "1e3": 1000.0,
    "-1.5E-1": -0.15,
    "010.5": 10.5,
    ".inf": math.inf,
    "-.INF": -math.inf,
    "2026-02-03": "2026-02-03",
    "2026-02-30": "2026-02-30",
    "9" * 5_000: "9" * 5_000,
    "'10'": "10",
    '"true"': "true",
    "<": "<",
    "=": "=",
    "a b": "a b",
}


@pytest.mark.parametrize("text", READ, ids=lambda text: repr(text)[:20])
def test_what_is_not_quoted_is_a_word_a_decimal_number_or_text(text: str) -> None:
    got = parse(f"a: {text}")["a"]
    assert (type(got), got) == (type(READ[text]), READ[text])


def test_nan_is_nan() -> None:
    assert math.isnan(parse("a: .nan")["a"])


LAUGHS = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]\n"
    for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)
REFUSED = {
    "a: 1\nb: 2\na: 3": ("the same key as in line 1, line 3", "once"),
    "a: {b: 1, b: 1}": ("the same key as in line 1, line 1", "once"),
    "'a': 1\n\"a\": 2": ("the same key", "once"),
    "1: x": ("a key that is no text, line 1", "quote"),
    "~: x": ("a key that is no text", "quote"),
    "true: x": ("a key that is no text", "quote"),
    "? [a]\n: x": ("a key that is no text", "quote"),
    "{{a: b}: c}": ("a key that is no text", "quote"),
    "a: 1\n---\na: 2": ("a second document, line 2", "one document"),
    "a: !!python/object/apply:os.system [x]": ("a tag, line 1", "without tags"),
    "a: !!int 1": ("a tag", "without tags"),
    "a: !x {}": ("a tag", "without tags"),
    "a: ! b": ("a tag", "without tags"),
    "a: *b": ("an alias", "an anchor"),
    "a: &a [*a]": ("an alias", "an anchor"),
    "a: &a {b: *a}": ("an alias", "an anchor"),
    "<<: 1": ("<< of something else", "a mapping"),
    "<<: [{a: 1}, b]": ("<< of something else", "a mapping"),
    'a: "\\0"': ("a control character, line 1", "text"),
    'a: "\\e[2J"': ("a control character", "text"),
    "a: \x00": ("line 1", "well-formed"),
    "a: [": ("line", "well-formed"),
    "[" * MAX_DEPTH + "[": ("nested too deep, line 1", "32"),
    "{a: " * 100_000: ("nested too deep, line 1", "32"),
    "[" + "1," * (MAX_VALUES + 1): ("too many values", "at most"),
    LAUGHS: ("too many values", "at most"),
}


@pytest.mark.parametrize("text", REFUSED, ids=lambda text: repr(text)[:20])
def test_what_could_be_read_otherwise_than_meant_is_refused(text: str) -> None:
    with pytest.raises(YamlProblemError) as caught:
        parse(text)
    said, allowed = REFUSED[text]
    assert said in str(caught.value)
    assert allowed in caught.value.allowed


def test_anchors_and_merges_are_read() -> None:
    text = "a: &a {x: 1, y: 2}\nb: {<<: *a, y: 3}\nc: {y: 4, <<: [{y: 5, z: 6}, *a]}\n"
    text += "d: [*a, &e 7, *e]"
    shared = {"x": 1, "y": 2}
    assert parse(text) == {
        "a": shared,
        "b": {"x": 1, "y": 3},
        "c": {"x": 1, "y": 4, "z": 6},
        "d": [shared, 7, 7],
    }


def test_a_key_that_is_there_twice_is_named_if_it_looks_like_one(tmp_path: Path) -> None:
    path = tmp_path / "scaling-config.yml"
    path.write_text("scaling:\n  min_workers: 1\n  max_workers: 5\n  min_workers: 3\n")
    with pytest.raises(ConfigError, match=r"line 2, line 4 \(min_workers\)"):
        read_yaml(path)
    path.write_text("Pa55word: 1\nPa55word: 2\n")
    with pytest.raises(ConfigError) as caught:
        read_yaml(path)
    assert "Pa55" not in str(caught.value)


@pytest.mark.parametrize(
    "path", ["scaling-config.yml", *Path("deploy").glob("**/scaling-config.yml")], ids=str
)
def test_the_shipped_files_say_what_they_said(path: Path) -> None:
    assert read_yaml(Path(path)) == yaml.safe_load(Path(path).read_text())


broken = (
    st.binary(max_size=200)
    | st.text(max_size=200).map(lambda text: text.encode("utf-8", "surrogatepass"))
    | st.text("ab:-? [{]},&*!|>'\"%@#\n\t\\01<~.", max_size=60).map(str.encode)
    | st.text("a: \n", max_size=20).map(lambda text: text.encode("utf-16"))
)


@settings(max_examples=400, deadline=None)
@given(broken)
@example(b"\xff\xfe")
@example(b"\xef\xbb\xbf")
@example(b'"\\UFFFFFFFF"')
def test_any_bytes_are_a_mapping_or_refused(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.yml"
    path.write_bytes(content)
    got, said = refusal(lambda: read_yaml(path))
    assert isinstance(got, dict) or said


@pytest.mark.timeout(60)  # half a second is enough, and what is quadratic takes minutes
@pytest.mark.parametrize(
    "unit",
    ["[", "{a: ", "- ", "? ", "'", '"', "&a ", "*a ", "!a ", "|\n", "%a\n", "-", ":", "#", "x ",
     " ", "\n", "\t", "a: ", "k: [1]\n", "- 1\n", "\\", "é", ","],
)  # fmt: skip
def test_as_much_of_it_as_a_file_may_have_does_no_harm(tmp_path: Path, unit: str) -> None:
    path = tmp_path / "much.yml"
    path.write_text(unit * (990_000 // len(unit.encode())))
    got, said = refusal(lambda: read_yaml(path))
    assert isinstance(got, dict) or said


NAMES = sorted({name for model in settings_classes() for name in model.model_fields})
scalars = st.sampled_from(
    [None, True, 0, -1, 3, 1.5, 10**30, math.nan, math.inf, "", "x", "010", "\n", "é", "2026-02-30",
     "0x_", "America", "../x", "/", "0 8 * * *", "0 0 31 2 *", "*/0 * * * *", "a" * 5_000]
)  # fmt: skip
values = st.recursive(
    scalars,
    lambda x: st.lists(x, max_size=3) | st.dictionaries(st.sampled_from(NAMES), x, max_size=4),
    max_leaves=12,
)
ONE = {"name": "a", "start": "0 8 * * *", "end": "0 9 * * *", "min_workers": 1}
of_schema = schema()["properties"]
sections = st.fixed_dictionaries(
    {},
    optional={
        **{name: values for name in of_schema if name not in ("scaling", "targets")},
        "scaling": st.dictionaries(
            st.sampled_from(list(of_schema["scaling"]["properties"])), values
        )
        | values,
        "targets": st.lists(
            st.dictionaries(
                st.sampled_from(list(of_schema["targets"]["items"]["properties"])), values
            )
            | st.sampled_from(list(ONE)).flatmap(
                lambda name: values.map(lambda value: {"schedules": [{**ONE, name: value}]})
            ),
            max_size=3,
        ),
    },
)


@settings(max_examples=300, deadline=None)
@given(sections)
@example({"history_path": "2026-02-30"})
@example({"grpc_port": "0x_"})
@example({"targets": [{"schedules": [{**ONE, "timezone": "America"}]}]})
def test_whatever_a_file_has_is_a_configuration_or_refused(
    tmp_path_factory: pytest.TempPathFactory, content: dict[str, Any]
) -> None:
    path = tmp_path_factory.getbasetemp() / "whatever.yml"
    path.write_text(yaml.safe_dump(content))
    got, said = refusal(lambda: load_config(path, {}))
    assert said or got.targets
