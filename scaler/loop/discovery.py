"""Targets that say so themselves: services whose labels ask for being scaled."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from common.errors import InvalidInputError, cut, first_problem, printable
from common.logs import get
from scaler.orchestrators.base import Offer, Orchestrator
from scaler.orchestrators.errors import OrchestratorError
from scaler.policy.target import Target

_SAID_BY_ITS_PLACE = frozenset({"service", "orchestrator", "pools"})
_REMEMBERED = 1000
_log = get("discovery")

Claim = tuple[Offer, Target]


class Discovery:
    """Makes targets of the services that the backends offer.

    A target is called by its service's full name, unless the service says another. What two claim
    is given to neither: which of them came first must not decide whose fleet is scaled, least of
    all anew at each start.
    """

    def __init__(
        self,
        backends: Mapping[str, Orchestrator],
        *,
        defaults: Mapping[str, Any],
        configured: Sequence[Target],
    ) -> None:
        """`defaults` are those of every target; services of `configured` are left to the file."""
        self.problems: Sequence[str] = ()
        """What is no target now, or may not be meant to be one, and why: a sentence each."""
        self.formerly: Mapping[str, str] = {}
        """By a target's name the one that it had up to version 0.1, the service's without its
        stack's, where it was certainly this one's: what was remembered by it is true of it."""
        self._offers: dict[str, Sequence[Offer]] = {}
        self._complained: dict[str, None] = {}
        self.reconfigure(backends, defaults=defaults, configured=configured)

    def reconfigure(
        self,
        backends: Mapping[str, Orchestrator],
        *,
        defaults: Mapping[str, Any],
        configured: Sequence[Target],
    ) -> None:
        """Ask these backends from now on, as the constructor says."""
        self._backends = dict(backends)
        self._defaults = dict(defaults)
        self._configured = tuple(configured)
        self._offers = {name: self._offers.get(name, ()) for name in backends}
        self._judge()

    def __call__(self) -> Sequence[Target]:
        """What has opted in; a backend that does not answer is taken to have what it had."""
        offers, silent = dict(self._offers), []
        for name, backend in self._backends.items():
            try:
                offers[name] = backend.discover()
            except OrchestratorError as error:
                silent.append(f"{name} does not tell which services opt in: {error}")
        if offers != self._offers:
            self._offers = offers
            self._judge()
        self._tell([*self._refused, *silent])
        return self._targets

    def _judge(self) -> None:
        """Who of those that offer themselves is a target."""
        refused: list[str] = []
        claims: list[Claim] = []
        for backend, offers in self._offers.items():
            for offer in offers:
                if not self._left_to_the_file(backend, offer):
                    try:
                        claims.append((offer, self._target(backend, offer)))
                    except InvalidInputError as error:
                        refused.append(str(error))
        claims = self._with_own_name(claims, refused)
        claims = self._told_apart(claims, refused)
        refused += self._sharing(claims)
        self._targets: Sequence[Target] = [target for _, target in claims]
        self._refused: Sequence[str] = sorted(refused)
        self.formerly = _former_names(self._offers.values(), claims, self._configured)

    def _left_to_the_file(self, backend: str, offer: Offer) -> bool:
        names = {offer.service, *offer.known_as}
        return any(
            target.orchestrator == backend and names.intersection(target.services)
            for target in self._configured
        )

    def _target(self, backend: str, offer: Offer) -> Target:
        """Raises InvalidInputError."""
        for name in sorted(_SAID_BY_ITS_PLACE.intersection(offer.fields)):
            field, value = f"{offer.service}.{name}", offer.fields[name]
            raise InvalidInputError(field, value, "nothing: a service speaks for itself alone")
        fields = {"name": offer.service, **offer.fields, "service": offer.service}
        try:
            return Target.model_validate({**self._defaults, **fields, "orchestrator": backend})
        except ValidationError as error:
            raise InvalidInputError(*first_problem(error, (offer.service,))) from None

    def _with_own_name(self, claims: Sequence[Claim], refused: list[str]) -> list[Claim]:
        """Those whose name nobody else claims."""
        owners: defaultdict[str, list[str]] = defaultdict(list)
        for target in self._configured:
            owners[target.name].append(f"the configuration, for {' and '.join(target.services)}")
        kept = {target.name for target in self._configured}
        for _, target in claims:
            owners[target.name].append(f"{target.service} in {target.orchestrator}")
        for name, those in owners.items():
            if len(those) > 1:
                whose = "the configuration's" if name in kept else "nobody's"
                said = f"target {name} is claimed by {_all_of(those)}: it is {whose}"
                refused.append(f"{said}; give each a name of its own (label autoscaler.name)")
        return [claim for claim in claims if len(owners[claim[1].name]) == 1]

    def _told_apart(self, claims: Sequence[Claim], refused: list[str]) -> list[Claim]:
        """Those whose queue's name is in one virtual host only: fleets are told apart by it."""
        held = {target.queue: target.vhost for target in self._configured}
        vhosts: defaultdict[str, dict[str, str]] = defaultdict(dict)
        for target in (*self._configured, *(target for _, target in claims)):
            vhosts[target.queue].setdefault(target.vhost, target.name)
        for queue, names in vhosts.items():
            if len(names) > 1:
                each = _all_of([f"{vhost!r} by {name}" for vhost, name in sorted(names.items())])
                whose = f"only that in {held[queue]!r} is" if queue in held else "neither is"
                said = f"a queue {queue} is claimed in the virtual hosts {each}: {whose} looked at"
                refused.append(f"{said}; queues of fleets need names that differ")
        return [
            claim
            for claim in claims
            if len(vhosts[claim[1].queue]) == 1 or held.get(claim[1].queue) == claim[1].vhost
        ]

    def _sharing(self, claims: Sequence[Claim]) -> Iterator[str]:
        """Of those that are targets, and may not be meant to be two."""
        owners: defaultdict[str, list[str]] = defaultdict(list)
        for target in (*self._configured, *(target for _, target in claims)):
            owners[target.queue].append(target.name)
        found = {target.queue for _, target in claims}
        for queue, names in owners.items():
            if len(names) > 1 and queue in found:
                said = f"the targets {_all_of(sorted(names))} take from the same queue {queue}"
                yield f"{said}: each is sized for all of its jobs; they might be one with pools"

    def _tell(self, problems: Sequence[str]) -> None:
        """Each is logged when it is new."""
        self.problems = tuple(cut(printable(problem), 1000) for problem in problems)
        for problem in self.problems:
            if problem not in self._complained:
                _log.warning("target problem", reason=problem)
            else:
                del self._complained[problem]
            self._complained[problem] = None
        while len(self._complained) > _REMEMBERED:
            del self._complained[next(iter(self._complained))]


def _former_names(
    offers: Iterable[Sequence[Offer]], claims: Sequence[Claim], configured: Sequence[Target]
) -> dict[str, str]:
    """See `Discovery.formerly`."""
    had = Counter(offer.formerly for those in offers for offer in those)
    present = {target.name for target in (*configured, *(target for _, target in claims))}
    return {
        target.name: offer.formerly
        for offer, target in claims
        if offer.formerly not in ("", target.name)
        and "name" not in offer.fields
        and had[offer.formerly] == 1
        and offer.formerly not in present
    }


def _all_of(those: Sequence[str]) -> str:
    return f"{', '.join(those[:-1])} and {those[-1]}"
