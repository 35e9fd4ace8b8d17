"""A repository on disk with keys in memory, and a device that reads its folder."""

from datetime import datetime
from pathlib import Path

from edgekit.trust.client import TrustClient
from edgekit.trust.keys import SignerLookup
from edgekit.trust.payload import CryptoSigner, Signer
from edgekit.trust.repository import Repository
from edgekit.trust.revision import Publication
from edgekit.trust.roles import RoleKeys, role_names
from tests.trust.simulator import NOW, pointer, record

STAGES = ("production", "staging")


class Keys:
    """Keys in memory, by role; some can be away."""

    def __init__(self) -> None:
        self.signers: dict[str, Signer] = {}
        self.of: dict[str, list[CryptoSigner]] = {}
        self.away: set[str] = set()
        self.asked: set[str] = set()

    def make(self, role: str, count: int = 1, threshold: int = 1) -> RoleKeys:
        made = [CryptoSigner.generate_ed25519() for _ in range(count)]
        self.of[role] = made
        self.signers |= {signer.public_key.keyid: signer for signer in made}
        return RoleKeys(keys=tuple(s.public_key for s in made), threshold=threshold)

    def look_up(self, keyid: str) -> Signer | None:
        role = next(
            (
                r
                for r, made in self.of.items()
                if keyid in {s.public_key.keyid for s in made}
            ),
            "revoked",
        )
        self.asked.add(role)
        return None if role in self.away else self.signers.get(keyid)


def create(folder: Path, keys: Keys, **quorums: tuple[int, int]) -> Repository:
    return Repository.create(
        folder,
        fleet="demo",
        stages=STAGES,
        keys={
            role: keys.make(role, *quorums.get(role, (1, 1))) for role in role_names(STAGES)
        },
        signers=keys.look_up,
        now=NOW,
    )


def release(
    repository: Repository, signers: SignerLookup, version: str, rollout: int
) -> Publication:
    return repository.publish(
        records=[record(version)],
        pointers=[pointer(version, rollout)],
        signers=signers,
        now=NOW,
    )


def runs(repository: Repository, folder: Path, now: datetime = NOW) -> str | None:
    """Return what a device runs of stage production."""
    root = repository.files.read("1.root.json")
    client = TrustClient(folder, root, repository.files, now)
    vouched = client.resolve(stage="production", model="wine")
    return None if vouched is None else vouched.pointer.version
