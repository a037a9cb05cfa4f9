"""status, explain, history, pause, resume, override: over a running scaler's API."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from common.errors import ConfigError
from scaler.commands.output import JsonOption, print_json, print_table
from scaler.policy.orders import OrderKind

if TYPE_CHECKING:
    from scaler.commands.api_client import Client

TargetArgument = Annotated[
    str | None, typer.Argument(metavar="[TARGET]", help="May be left out where there is one.")
]
UrlOption = Annotated[
    str | None,
    typer.Option("--url", help="Of the scaler; default $SCALER_URL, then this machine's."),
]
ReasonOption = Annotated[str, typer.Option("--reason", help="Why; it is kept and shown.")]
ForOption = Annotated[
    str | None, typer.Option("--for", metavar="SPAN", help="e.g. 30m; until resumed without.")
]


def status(url: UrlOption = None, as_json: JsonOption = False) -> None:
    """Is every target keeping up? One line each."""
    with _client(url) as client:
        targets = client.get("/api/targets")
        system = client.get("/api/system")
    if as_json:
        print_json({"targets": targets, "system": system})
        return
    columns = ("target", "verdict", "waiting", "in progress", "workers", "wanted", "bounds")
    rows = [
        (
            each["name"],
            each["verdict"]["text"],
            _number(each["queue_depth"]),
            _number(each["in_flight"]),
            _number(each["active_workers"]),
            _number(each["target_workers"]),
            f"{each['min_workers']}–{each['max_workers']}",
        )
        for each in targets
    ]
    print_table(columns, rows)
    for key, what in (("prometheus_error", "Prometheus"), ("config_problem", "configuration")):
        if system[key]:
            sys.stdout.write(f"{what}: {system[key]}\n")
    # An older scaler does not tell.
    for problem in system.get("problems", ()):
        sys.stdout.write(f"{problem}\n")


def explain(
    target: TargetArgument = None,
    at: Annotated[
        str | None, typer.Option(metavar="TIME", help="e.g. 10m (ago), 14:05, 2026-11-24T14:05.")
    ] = None,
    url: UrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """Why are there as many workers as there are, and why not more?"""
    with _client(url) as client:
        query = {} if at is None else {"at": _moment(at)}
        found = client.get(f"{client.target(target)}/explanation", query)
    if as_json:
        print_json(found)
    else:
        sys.stdout.write(f"{_clock(found['at'])}  {found['target']}\n{found['text']}\n")


def history(
    target: TargetArgument = None,
    until: Annotated[str | None, typer.Option(metavar="TIME", help="As for explain --at.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=500, help="How many.")] = 20,
    url: UrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """The last decisions and people's orders, newest first."""
    with _client(url) as client:
        path = client.target(target)
        query: dict[str, Any] = {"limit": limit}
        if until is not None:
            query["until"] = _moment(until)
        decisions = client.get(f"{path}/decisions", query)
        orders = client.get(f"{path}/orders", {"limit": limit})
    if as_json:
        print_json({"decisions": decisions, "orders": orders})
        return
    rows = [(d["at"], d["action"], _number(d["replicas"]), _sentence(d)) for d in decisions]
    rows += [(o["at"], o["order"], _number(o["replicas"]), _said(o)) for o in orders]
    rows.sort(reverse=True)
    print_table(
        ("time", "what", "workers", "why"),
        [(_clock(at), *rest) for at, *rest in rows[:limit]],
    )


def pause(
    reason: ReasonOption,
    target: TargetArgument = None,
    span: ForOption = None,
    url: UrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """Leave the fleet as it is, for a while or until resumed."""
    body: dict[str, Any] = {"reason": reason}
    _act("pause", body, target, (span, url, as_json))


def resume(
    reason: ReasonOption = "by command",
    target: TargetArgument = None,
    url: UrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """End a pause or an override."""
    _act("resume", {"reason": reason}, target, (None, url, as_json))


def override(
    *,
    replicas: Annotated[int, typer.Argument(min=0, help="How many workers.")],
    reason: ReasonOption,
    span: Annotated[str, typer.Option("--for", metavar="SPAN", help="Until when, e.g. 30m.")],
    target: TargetArgument = None,
    url: UrlOption = None,
    as_json: JsonOption = False,
) -> None:
    """Run so many workers for a while, whatever the demand."""
    body: dict[str, Any] = {"reason": reason, "replicas": replicas}
    _act("override", body, target, (span, url, as_json))


def register(app: typer.Typer) -> None:
    """Add the commands to the program's."""
    for command in (status, explain, history, pause, resume, override):
        app.command()(command)


def _act(
    order: str,
    body: dict[str, Any],
    target: str | None,
    options: tuple[str | None, str | None, bool],
) -> None:
    from scaler.commands.moments import seconds  # noqa: PLC0415 - as in _client

    span, url, as_json = options
    with _client(url) as client:
        if span is not None:
            body["for_seconds"] = seconds(span, "--for")
        done = client.act(f"{client.target(target)}/{order}", body)
    if as_json:
        print_json(done)
    else:
        end = _until(done["order"]) if done["order"] else ""
        sys.stdout.write(f"{done['name']}: {order}{end}; in effect from the next cycle on\n")


@contextmanager
def _client(url: str | None) -> Iterator[Client]:
    """A client; one line on stderr and exit code 2 for what cannot be used, 1 for a refusal."""
    # Only these commands need them: the scaler itself starts without.
    from common.settings import load  # noqa: PLC0415
    from scaler.commands.api_client import Client, ClientError, ClientSettings  # noqa: PLC0415

    try:
        yield Client(load(ClientSettings), url)
    except ConfigError as error:
        sys.stderr.write(f"invalid: {error}\n")
        raise typer.Exit(2) from None
    except ClientError as error:
        sys.stderr.write(f"{error}\n")
        raise typer.Exit(1) from None


def _moment(text: str) -> float:
    from scaler.commands.moments import moment  # noqa: PLC0415 - as in _client

    return moment(text, "time", datetime.now().astimezone())


def _number(value: float | None) -> str:
    return "?" if value is None else f"{value:g}"


def _clock(at: float) -> str:
    return datetime.fromtimestamp(at).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def _until(order: dict[str, Any]) -> str:
    return f" until {_clock(order['until'])}" if order["until"] else " until resumed"


def _sentence(decision: dict[str, Any]) -> str:
    applied = decision.get("applied", "")
    return f"{decision['reason']} — {applied}" if applied else str(decision["reason"])


def _said(order: dict[str, Any]) -> str:
    end = "" if order["order"] == OrderKind.RESUME else _until(order)
    return f"{order['reason']}{end} ({order['by']})"
