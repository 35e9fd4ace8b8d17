import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.errors import TransportError
from edgekit.statement import MAX_CHUNK_BYTES, pointer_path, slug
from edgekit.wire import (
    MAX_CHUNKS,
    MAX_MIXED,
    MAX_PAYLOAD_BYTES,
    Chunk,
    Repair,
    Topics,
    Want,
    decode_names,
    encode_names,
    mix,
    pack_bits,
    split_index,
    unpack_bits,
)

# AWS IoT Core's quotas, "Message broker and protocol limits and quotas".
AWS_PAYLOAD_BYTES = 128 * 1000  # the stricter reading of 128 KB
AWS_SLASHES = 7
AWS_TOPIC_BYTES = 256

U32 = st.integers(0, 2**32 - 1)
DIGESTS = st.binary(min_size=32, max_size=32).map(bytes.hex)
DIGEST = "ab" * 32
CHUNK = Chunk(epoch=5, sequence=9, number=2, data=b"abc")
WANT = Want(
    sha256=DIGEST,
    epoch=5,
    last_sequence=9,
    window=32,
    chunks=11,
    missing=frozenset({0, 7, 8, 10}),
)


@st.composite
def wants(draw: st.DrawFn) -> Want:
    chunks = draw(st.integers(1, 3_000))
    return Want(
        sha256=draw(DIGESTS),
        epoch=draw(U32),
        last_sequence=draw(U32),
        window=draw(st.integers(1, 2**16 - 1)),
        chunks=chunks,
        missing=draw(st.frozensets(st.integers(0, chunks - 1))),
        coded=draw(st.booleans()),
    )


def every_topic(topics: Topics, device: str, name: str) -> list[str]:
    return [
        topics.index,
        topics.file(name),
        topics.blob(DIGEST),
        topics.repair(DIGEST),
        topics.delta(DIGEST),
        topics.depot("0123abcd"),
        topics.want(device),
        topics.state(device),
        topics.presence(device),
        topics.telemetry(device),
        topics.every("want"),
    ]


@given(U32, U32, U32, st.binary(min_size=1, max_size=2_000))
def test_any_chunk_survives_encoding_and_decoding(
    epoch: int, sequence: int, number: int, data: bytes
) -> None:
    chunk = Chunk(epoch=epoch, sequence=sequence, number=number, data=data)
    assert Chunk.decode(chunk.encode()) == chunk


@given(
    U32,
    U32,
    st.sets(st.integers(0, MAX_CHUNKS - 1), min_size=2, max_size=MAX_MIXED),
    st.binary(min_size=1, max_size=2_000),
)
def test_any_repair_survives_encoding_and_decoding(
    epoch: int, sequence: int, numbers: set[int], data: bytes
) -> None:
    mixed = tuple(sorted(numbers))
    repair = Repair(epoch=epoch, sequence=sequence, numbers=mixed, data=data)
    assert Repair.decode(repair.encode()) == repair


@pytest.mark.parametrize(
    ("numbers", "data"),
    [
        ((3,), b"x"),
        ((3, 3), b"x"),
        ((4, 3), b"x"),
        (tuple(range(MAX_MIXED + 1)), b"x"),
        ((3, 4), b""),
        ((3, 4), bytes(MAX_CHUNK_BYTES + 1)),
    ],
)
def test_a_repair_of_none_of_many_or_out_of_order_is_refused(
    numbers: tuple[int, ...], data: bytes
) -> None:
    payload = Repair(epoch=1, sequence=1, numbers=numbers, data=data).encode()
    with pytest.raises(TransportError, match=r"^repair: "):
        Repair.decode(payload)


def test_the_longest_repair_fits_into_a_message() -> None:
    numbers = tuple(range(MAX_CHUNKS - MAX_MIXED, MAX_CHUNKS))
    repair = Repair(epoch=1, sequence=1, numbers=numbers, data=bytes(MAX_CHUNK_BYTES))
    assert len(repair.encode()) <= min(MAX_PAYLOAD_BYTES, AWS_PAYLOAD_BYTES)


@given(st.lists(st.binary(max_size=20), min_size=2))
def test_all_but_one_of_what_was_mixed_give_the_one(chunks: list[bytes]) -> None:
    mixed = mix(chunks, 20)
    assert mix((mixed, *chunks[1:]), 20) == chunks[0].ljust(20, b"\0")


@given(wants())
def test_any_want_survives_encoding_and_decoding(want: Want) -> None:
    assert Want.decode(want.encode()) == want


@given(st.binary(max_size=100))
def test_noise_is_a_transport_error_and_never_crashes(payload: bytes) -> None:
    for decode in (Chunk.decode, Repair.decode, Want.decode, decode_names, split_index):
        try:
            decode(payload)
        except TransportError:
            continue


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        CHUNK.encode()[:13],
        b"\x02" + CHUNK.encode()[1:],
        CHUNK.encode() + bytes(MAX_CHUNK_BYTES),
    ],
)
def test_a_chunk_that_is_empty_too_long_or_of_another_version_is_refused(
    payload: bytes,
) -> None:
    with pytest.raises(TransportError, match=r"^chunk: "):
        Chunk.decode(payload)


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        WANT.encode()[:20],
        WANT.encode()[:-1],
        WANT.encode() + b"\0",
        b"\x03" + WANT.encode()[1:],
    ],
)
def test_a_want_cut_lengthened_or_of_another_version_is_refused(payload: bytes) -> None:
    with pytest.raises(TransportError, match=r"^want: "):
        Want.decode(payload)


@pytest.mark.parametrize(
    ("chunks", "window"), [(0, 1), (MAX_CHUNKS + 1, 1), (2**32 - 1, 1), (8, 0)]
)
def test_a_want_that_stretches_a_depots_memory_is_refused(chunks: int, window: int) -> None:
    head = WANT.encode()[:41]
    payload = head + window.to_bytes(2, "big") + chunks.to_bytes(4, "big") + bytes(1)
    with pytest.raises(TransportError, match="out of range"):
        Want.decode(payload)


def test_bits_beyond_the_last_chunk_are_ignored() -> None:
    payload = WANT.encode()[:-1] + b"\xff"
    assert Want.decode(payload).missing == frozenset({0, 7, 8, 9, 10})


def test_the_largest_messages_fit_the_strictest_broker() -> None:
    chunk = Chunk(epoch=1, sequence=1, number=1, data=bytes(MAX_CHUNK_BYTES))
    want = Want(
        sha256=DIGEST,
        epoch=1,
        last_sequence=1,
        window=1,
        chunks=MAX_CHUNKS,
        missing=frozenset(range(0, MAX_CHUNKS, 97)),
    )
    for payload in (chunk.encode(), want.encode()):
        assert len(payload) <= min(MAX_PAYLOAD_BYTES, AWS_PAYLOAD_BYTES)


@given(st.text(min_size=1), st.text(min_size=1), st.text(min_size=1))
def test_no_name_makes_a_topic_deeper_or_a_wildcard(
    fleet: str, device: str, name: str
) -> None:
    *exact, everyone = every_topic(Topics(fleet=fleet), device, name)
    for topic in (*exact, everyone):
        assert topic.count("/") <= AWS_SLASHES
        assert not topic.startswith("$")
    for topic in exact:
        assert not set(topic) & set("+#\0")


def test_topics_of_names_of_usual_length_fit_aws_iot_core() -> None:
    name = f"targets/{pointer_path('production', 'm' * 64)}".replace(
        "production/", f"production/{DIGEST}."
    )
    for topic in every_topic(Topics(fleet="f" * 32), "d" * 64, name):
        assert len(topic.encode()) <= AWS_TOPIC_BYTES


@given(st.text(min_size=1), st.text(min_size=1))
def test_a_device_is_recognised_by_the_topic_it_may_write_to(
    fleet: str, device: str
) -> None:
    topics = Topics(fleet=fleet)
    assert topics.sender(topics.want(device)) == slug(device)
    assert topics.sender(topics.index) is None
    assert topics.sender(topics.blob(DIGEST)) is None


def test_a_device_of_another_fleet_is_not_recognised() -> None:
    assert Topics(fleet="a").sender(Topics(fleet="b").state("pi-1")) is None


def test_every_kind_is_a_filter_for_the_topics_of_all_devices() -> None:
    topics = Topics(fleet="demo")
    assert topics.every("state") == topics.state("x").replace("/x/", "/+/")


@given(st.frozensets(st.integers(0, 999)))
def test_any_set_of_numbers_survives_as_a_bitmap(numbers: frozenset[int]) -> None:
    bits = pack_bits(numbers, 1_000)
    assert len(bits) == 125
    assert list(unpack_bits(bits)) == sorted(numbers)


def test_the_lowest_number_is_the_lowest_bit_of_the_first_byte() -> None:
    assert pack_bits([0, 9], 10) == b"\x01\x02"


@given(st.frozensets(st.from_regex(r"[a-z0-9./%-]+", fullmatch=True)))
def test_any_index_of_names_survives_encoding_and_decoding(names: frozenset[str]) -> None:
    assert decode_names(encode_names(names)) == names


def test_an_index_that_is_no_text_is_refused() -> None:
    with pytest.raises(TransportError, match="index: not UTF-8"):
        decode_names(b"\xff")


def test_a_chunk_index_of_half_a_digest_is_refused() -> None:
    assert split_index(bytes(64)) == (bytes(32), bytes(32))
    with pytest.raises(TransportError, match="65 bytes, not whole digests"):
        split_index(bytes(65))
