"""Say why a board gets no smaller flavor, or an unproven one. Pure; chooses nothing."""

from collections.abc import Iterator, Mapping, Sequence

from edgekit.conversion import Candidate
from edgekit_converters.verdict.gate import BASELINE

_SHOWN = 3  # names of flavors


def explained(
    choices: Mapping[str, str], candidates: Sequence[Candidate]
) -> dict[str, str]:
    """Return board -> a clause; nothing of a board whose choice explains itself."""
    by_name = {one.flavor: one for one in candidates}
    said = {
        board: "; ".join(_clauses(board, by_name[flavor], candidates))
        for board, flavor in choices.items()
    }
    return {board: clause for board, clause in said.items() if clause}


def _clauses(board: str, chosen: Candidate, tried: Sequence[Candidate]) -> Iterator[str]:
    if not chosen.sure:
        yield "not proven, and nothing lossless or proven fits the board"
        return
    smaller = sorted(
        (one for one in tried if one.accepted and _flash(one) < _flash(chosen)),
        key=_flash,
    )
    unproven = [one for one in smaller if board in one.boards and not one.sure]
    beyond = [one for one in smaller if board not in one.boards]
    if unproven:
        yield (
            f"{_names(unproven)} would be smaller ({unproven[0].bundle_bytes:,} bytes), not"
            " proven by so few samples: bring more, or allow more with --max-drop"
        )
    if beyond:
        yield f"{_names(beyond)} would not fit the board, or not run there"
    if not smaller and chosen.flavor == BASELINE and len(tried) > 1:
        yield f"{BASELINE} stays: nothing smaller is as good"


def _flash(one: Candidate) -> int:
    return one.bundle_bytes + one.model_bytes


def _names(candidates: Sequence[Candidate]) -> str:
    names = [one.flavor for one in candidates]
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
