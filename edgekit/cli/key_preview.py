"""What a change of keys would sign, for a dry run of `edgekit keys`. Output, no rules."""

import click

from edgekit.cli.options import print_json
from edgekit.cli.talk import show_table
from edgekit.errors import ConfigError
from edgekit.trust.layout import short
from edgekit.trust.roles import RoleKeys
from edgekit.trust.rotation import Preview


def say_preview(preview: Preview, devices: list[str] | None, *, as_json: bool) -> None:
    """Print it; ConfigError when signatures would be missing, after it was printed."""
    if as_json:
        print_json(_document(preview, devices))
    else:
        if preview.after:
            before = sums(preview.before) if preview.before else "no such role"
            click.echo(f"{preview.role}: {before} now")
            click.echo(f"{preview.role}: {sums(preview.after)} afterwards\n")
        show_table(
            ("SIGNED ANEW", "VERSION", "NEEDS", "HERE"),
            [
                (one.role, str(one.version), _needs(keys), _here(preview, keys))
                for one in preview.signings
                for keys in dict.fromkeys(one.by)
            ],
        )
        if devices is not None:
            click.echo(f"\n{_followers(preview.role, devices)}")
        click.echo("nothing was changed (--dry-run)", err=True)
    if not preview.possible:
        raise ConfigError(
            f"{preview.role}: signatures would be missing; name the folders of the other"
            " keys with --keys, or have them signed elsewhere with --propose"
        )


def _document(preview: Preview, devices: list[str] | None) -> dict[str, object]:
    return {
        "role": preview.role,
        "before": preview.before and _keys_document(preview.before),
        "after": preview.after and _keys_document(preview.after),
        "possible": preview.possible,
        "devices": devices,
        "signings": [
            {
                "role": one.role,
                "version": one.version,
                "by": [
                    {**_keys_document(keys), "missing": preview.lacks(keys)}
                    for keys in dict.fromkeys(one.by)
                ],
            }
            for one in preview.signings
        ],
    }


def _keys_document(keys: RoleKeys) -> dict[str, object]:
    return {"threshold": keys.threshold, "keys": len(keys.keys)}


def sums(keys: RoleKeys) -> str:
    """Say how many keys must sign, and how many may be lost."""
    spare = len(keys.keys) - keys.threshold
    loss = f"{spare} may be lost" if spare else "none may be lost"
    return f"{_needs(keys)} keys must sign, {loss}"


def _needs(keys: RoleKeys) -> str:
    return f"{keys.threshold} of {len(keys.keys)}"


def _here(preview: Preview, keys: RoleKeys) -> str:
    lacks = preview.lacks(keys)
    if not lacks:
        return "yes"
    absent = [short(keyid) for keyid in keys.keyids if keyid not in preview.here]
    return f"{lacks} more of {', '.join(absent)}"


def _followers(role: str, devices: list[str]) -> str:
    whose = "that follow it" if role.startswith("stage-") else "enrolled"
    return (
        f"{len(devices)} devices {whose}: each goes over to the new keys when it next"
        " looks, however long it was away"
    )
