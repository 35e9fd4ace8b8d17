"""Signed metadata: who may say what runs, checked on the device, made by the operator.

The Update Framework does the cryptography (python-tuf); docs/formats/repository.md is the
page of the format. Importing this package loads nothing: `client` and `repository` load
tuf, which a resident process must not hold in memory.

Both sides: source (the port), shelf (a folder), layout (names), limits, expiry.
Device: client <- guard, floor (what was accepted before), vouched (do both roles agree?),
updater, fetcher, refusal and replay (the adapters to python-tuf).
Operator: repository <- draft, generation, roles; keys <- pkcs8; founding, lock.
"""
