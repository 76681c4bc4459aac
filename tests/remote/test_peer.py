"""Connections for pictures: both ways on one machine, what other ends may not ask for, and frames without delay."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import re
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from types import SimpleNamespace
from typing import Any

import av
import numpy as np
import pytest
from aiortc import RTCIceGatherer, RTCPeerConnection
from aiortc.mediastreams import MediaStreamError
from aiortc.rtp import RtpPacket

from avatarify_plus.errors import RemoteError
from avatarify_plus.remote import peer as peer_module
from avatarify_plus.remote.peer import (
    CLOCK_HZ,
    MAX_CANDIDATES,
    MAX_MEDIA,
    MAX_SDP,
    PATIENCE_S,
    IceServer,
    Peer,
    PictureTrack,
    PromptJitterBuffer,
    Received,
    check_description,
)
from avatarify_plus.remote.stamp import read_stamp, stamp
from avatarify_plus.types import Size
from fakes import FakeClock, plain_picture

WAIT_S = 10.0
CANDIDATE = "a=candidate:1 1 udp 2130706431 127.0.0.1 {port} typ host\r\n"


def run(work: Coroutine[Any, Any, None]) -> None:
    """Do something in a loop of its own, but not forever."""
    asyncio.run(asyncio.wait_for(work, 3 * WAIT_S))


async def until(is_so: Callable[[], bool]) -> None:
    """Wait until something is so."""

    async def look() -> None:
        while not is_so():
            await asyncio.sleep(0.01)

    await asyncio.wait_for(look(), WAIT_S)


def ignore(received: Received) -> None:
    """Take a picture and forget it."""


@contextlib.asynccontextmanager
async def local_peer(on_picture: Callable[[Received], None] = ignore) -> AsyncIterator[Peer]:
    peer = Peer(on_picture, is_local=True)
    try:
        yield peer
    finally:
        await peer.close()


class Inbox:
    """Reads the numbers of the pictures that come."""

    def __init__(self) -> None:
        self.numbers: list[int] = []
        self.sizes: set[Size] = set()
        self.levels: set[int] = set()

    def take(self, received: Received) -> None:
        image, number = read_stamp(received.image())
        self.sizes.add(received.size)
        if number is not None:
            self.numbers.append(number)
            self.levels.add(round(float(image.mean())))


# --- both ways ---


def test_pictures_travel_both_ways_their_numbers_come_back_and_the_end_is_noticed() -> None:
    async def work() -> None:
        caller, called = Inbox(), Inbox()
        sent: list[int] = []
        async with local_peer(caller.take) as first:

            def answer(received: Received) -> None:
                called.take(received)
                if called.numbers:
                    second.send(stamp(plain_picture(180, 120, 160), called.numbers[-1]), received.arrived_s)

            async with local_peer(answer) as second:
                assert not first.is_connected
                await first.accept(await second.answer(await first.offer()))
                numbers = itertools.count(1000)

                def some_came_back() -> bool:
                    number = next(numbers)
                    sent.append(number)
                    first.send(stamp(plain_picture(60, 120, 160), number), number / 30)
                    return len(set(caller.numbers)) >= 5

                await until(some_came_back)
                assert first.is_connected and second.is_connected
                assert not first.is_lost and not second.is_lost
            await until(lambda: first.is_lost)
        assert set(caller.numbers) <= set(called.numbers) <= set(sent)
        for inbox, level in ((caller, 180), (called, 60)):
            assert inbox.numbers == sorted(inbox.numbers), "never an older picture after a newer one"
            assert inbox.sizes == {Size(160, 124)}
            assert all(found == pytest.approx(level, abs=4) for found in inbox.levels)

    run(work())


def test_a_picture_that_waits_is_replaced_by_a_newer_one() -> None:
    async def work() -> None:
        track = PictureTrack()
        track.put(plain_picture(10), 1.0)
        track.put(plain_picture(200), 2.0)
        frame = await track.recv()
        assert frame.to_ndarray(format="rgb24").mean() == pytest.approx(200, abs=2)
        assert (frame.pts, 1 / frame.time_base) == (2 * CLOCK_HZ, CLOCK_HZ)
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(track.recv(), 0.05)

    run(work())


def test_the_time_of_pictures_goes_forward_always() -> None:
    async def work() -> None:
        track = PictureTrack()
        times = []
        for time_s in (3.0, 3.0, 1.0, 4.0):
            track.put(plain_picture(10), time_s)
            times.append((await track.recv()).pts)
        assert times == [3 * CLOCK_HZ, 3 * CLOCK_HZ + 1, 3 * CLOCK_HZ + 2, 4 * CLOCK_HZ]

    run(work())


def test_a_picture_is_copied_when_it_is_sent() -> None:
    async def work() -> None:
        track = PictureTrack()
        image = plain_picture(200)
        track.put(image, 1.0)
        image[:] = 0
        assert (await track.recv()).to_ndarray(format="rgb24").mean() == pytest.approx(200, abs=2)

    run(work())


def test_a_track_that_ended_gives_no_pictures_and_takes_them_from_any_thread_without_harm() -> None:
    tracks: list[PictureTrack] = []

    async def work() -> None:
        track = PictureTrack()
        track.put(plain_picture(10), 1.0)
        await asyncio.to_thread(track.put, plain_picture(20), 2.0)
        track.stop()
        with pytest.raises(MediaStreamError):
            await track.recv()
        tracks.append(track)

    run(work())
    tracks[0].put(plain_picture(10), 3.0)  # its loop has ended


def test_pictures_that_are_too_large_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peer_module, "MAX_PIXELS", 64 * 48)

    class Track:
        def __init__(self) -> None:
            self.sizes = iter([(64, 48), (66, 48), (48, 64), (640, 480), (32, 32)])

        async def recv(self) -> Any:
            size = next(self.sizes, None)
            if size is None:
                raise MediaStreamError
            return av.VideoFrame(*size, "yuv420p")

    async def work() -> None:
        received: list[Received] = []
        async with local_peer(received.append) as peer:
            await peer._receive(Track())
        assert [picture.size for picture in received] == [(64, 48), (48, 64), (32, 32)]

    run(work())


# --- descriptions ---


def test_a_local_end_names_no_address_but_loopback_and_asks_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    def ask() -> list[Any]:
        raise AssertionError("a default server is asked for this end's address")

    monkeypatch.setattr(RTCIceGatherer, "getDefaultIceServers", ask)

    async def work() -> None:
        async with local_peer() as first, local_peer() as second:
            offer = await first.offer()
            answer = await second.answer(offer)
            for description in (offer, answer):
                candidates = [line for line in description.splitlines() if line.startswith("a=candidate")]
                assert candidates
                assert {line.split()[4] for line in candidates} == {"127.0.0.1"}
                assert all(line.endswith("typ host") for line in candidates)
                assert set(re.findall(r"\b\d+\.\d+\.\d+\.\d+\b", description)) <= {"127.0.0.1", "0.0.0.0"}
                assert "IP6" not in description and "::" not in description

    run(work())


def test_an_end_that_is_not_local_names_the_machines_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peer_module, "_all_addresses", lambda use_ipv4, use_ipv6: ["127.0.0.7"])

    async def work() -> None:
        async with local_peer() as first:
            assert " 127.0.0.1 " in await first.offer()
            second = Peer(ignore)
            try:
                assert " 127.0.0.7 " in await second.offer()
            finally:
                await second.close()

    run(work())


def test_servers_are_described_as_browsers_take_them() -> None:
    assert IceServer(("stun:a:1",)).for_pages == {"urls": ["stun:a:1"]}
    assert IceServer(("turn:a:1", "turns:a:2"), "me", "secret").for_pages == {
        "urls": ["turn:a:1", "turns:a:2"],
        "username": "me",
        "credential": "secret",
    }


async def _offer_of(*media: str) -> str:
    """Return what an end offers that wants these media, such as video and audio."""
    connection = RTCPeerConnection()
    for kind in media:
        connection.addTransceiver(kind)
    await connection.setLocalDescription(await connection.createOffer())
    found = str(connection.localDescription.sdp)
    await connection.close()
    return found


@pytest.fixture(scope="module")
def video_offer() -> Iterator[str]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RTCIceGatherer, "getDefaultIceServers", list)
        patch.setattr(peer_module, "_all_addresses", lambda use_ipv4, use_ipv6: ["127.0.0.1"])
        peer_module.prepare()
        yield asyncio.run(_offer_of("video"))


@pytest.mark.parametrize("given", [None, 5, b"v=0", [], {"sdp": "v=0"}, "x" * (MAX_SDP + 1)], ids=lambda given: "")
def test_what_is_no_text_or_too_long_is_no_description(given: Any) -> None:
    with pytest.raises(RemoteError, match="too long or no text"):
        check_description(given)

    async def work() -> None:
        async with local_peer() as peer:
            with pytest.raises(RemoteError, match="too long or no text"):
                await peer.answer(given)
            with pytest.raises(RemoteError, match="too long or no text"):
                await peer.accept(given)

    run(work())


def test_a_description_may_be_long_but_no_longer() -> None:
    check_description("x" * MAX_SDP)


@pytest.mark.parametrize("line_end", ["\r\n", "\n", "\r"])
def test_too_many_media_or_addresses_are_refused(video_offer: str, line_end: str) -> None:
    media = f"m=video 9 UDP/TLS/RTP/SAVPF 96{line_end}"
    check_description("v=0" + line_end + media * MAX_MEDIA)
    with pytest.raises(RemoteError, match=f"names {MAX_MEDIA + 1} media and 0 addresses, which is too many"):
        check_description("v=0" + line_end + media * (MAX_MEDIA + 1))
    candidates = [CANDIDATE.format(port=port).replace("\r\n", line_end) for port in range(MAX_CANDIDATES + 1)]
    check_description("".join(candidates[1:]))
    with pytest.raises(RemoteError, match=f"and {MAX_CANDIDATES + 1} addresses, which is too many"):
        check_description("".join(candidates))


def test_an_offer_with_too_much_is_refused_before_anything_is_opened(video_offer: str) -> None:
    candidates = "".join(CANDIDATE.format(port=port) for port in range(1, MAX_CANDIDATES + 2))
    section = video_offer[video_offer.index("m=video") :]

    async def work() -> None:
        for offer in (video_offer + candidates, video_offer + section * MAX_MEDIA):
            async with local_peer() as peer:
                with pytest.raises(RemoteError, match="too many"):
                    await peer.answer(offer)
                assert not peer._connection.getTransceivers()

    run(work())


@pytest.mark.parametrize(
    "offer",
    [
        "",
        "garbage",
        "v=0\r\n",
        "\0" * 1000,
        "\ud800",
        "m=video\r\n",
        "m=video 9 UDP/TLS/RTP/SAVPF 96\r\n",
        "v=0\r\nm=video nine UDP/TLS/RTP/SAVPF 96\r\n",
        "v=0\r\na=setup:nobody\r\n",
    ],
    ids=lambda offer: repr(offer[:20]),
)
def test_garbage_is_refused_in_one_line(offer: str) -> None:
    async def work() -> None:
        async with local_peer() as peer:
            with pytest.raises(RemoteError) as refused:
                await peer.answer(offer)
            assert "the offer" in str(refused.value) and "\n" not in str(refused.value)
        async with local_peer() as peer:
            await peer.offer()
            with pytest.raises(RemoteError, match="the answer cannot be used"):
                await peer.accept(offer)

    run(work())


def test_an_offer_that_is_cut_anywhere_is_answered_or_refused(video_offer: str) -> None:
    async def work() -> None:
        refused = 0
        for length in range(0, len(video_offer), max(len(video_offer) // 12, 1)):
            async with local_peer() as peer:
                try:
                    assert "m=video" in await peer.answer(video_offer[:length])
                except RemoteError:
                    refused += 1
        assert refused >= 3

    run(work())


@pytest.mark.parametrize("media", [("audio",), ("video", "audio"), ("video", "video"), ("audio", "audio")])
def test_only_one_video_can_be_offered(media: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RTCIceGatherer, "getDefaultIceServers", list)
    monkeypatch.setattr(peer_module, "_all_addresses", lambda use_ipv4, use_ipv6: ["127.0.0.1"])

    async def work() -> None:
        async with local_peer() as peer:
            offer = await _offer_of(*media)
            with pytest.raises(RemoteError, match="must have one video"):
                await peer.answer(offer)

    run(work())


def test_an_end_may_be_closed_again_and_before_anything_was_agreed() -> None:
    async def work() -> None:
        peer = Peer(ignore, is_local=True)
        await peer.close()
        await peer.close()
        other = Peer(ignore, is_local=True)
        await other.offer()
        await other.close()
        await other.close()

    run(work())


# --- frames out of packets ---


def packet(number: int, time: int, is_last: bool) -> Any:
    """Return a packet of a frame. number: counts packets. time: the frame's. is_last: whether it is marked as such."""
    made = RtpPacket(payload_type=96, marker=int(is_last), sequence_number=number % 65536, timestamp=time)
    vars(made)["_data"] = bytes([number % 256])
    return made


def frames_of(buffer: PromptJitterBuffer, packets: list[Any]) -> list[bytes | None]:
    """Return what each packet completes."""
    found = []
    for each in packets:
        _, frame = buffer.add(each)
        found.append(None if frame is None else frame.data)
    return found


def test_a_frame_is_given_with_its_marked_packet() -> None:
    buffer = PromptJitterBuffer(128, is_video=True)
    packets = [
        *(packet(0, 100, False), packet(1, 100, False), packet(2, 100, True)),
        packet(3, 200, True),
        *(packet(4, 300, False), packet(5, 300, True)),
    ]
    assert frames_of(buffer, packets) == [None, None, b"\0\1\2", b"\3", None, b"\4\5"]


def test_the_frames_time_comes_with_it() -> None:
    buffer = PromptJitterBuffer(128, is_video=True)
    buffer.add(packet(0, 700, False))
    _, frame = buffer.add(packet(1, 700, True))
    assert frame is not None and frame.timestamp == 700


def test_a_missing_packet_is_waited_for() -> None:
    buffer = PromptJitterBuffer(128, is_video=True)
    assert frames_of(buffer, [packet(0, 100, False), packet(2, 100, True)]) == [None, None]
    assert frames_of(buffer, [packet(3, 200, False)]) == [None]
    assert frames_of(buffer, [packet(1, 100, False)]) == [b"\0\1\2"]
    assert frames_of(buffer, [packet(4, 200, True)]) == [b"\3\4"]


def test_packets_that_were_swapped_are_put_in_order() -> None:
    buffer = PromptJitterBuffer(128, is_video=True)
    within = [packet(0, 100, False), packet(2, 100, True), packet(1, 100, False)]
    assert frames_of(buffer, within) == [None, None, b"\0\1\2"]
    across = [packet(3, 200, False), packet(5, 300, False), packet(4, 200, True), packet(6, 300, True)]
    assert frames_of(buffer, across) == [None, None, b"\3\4", b"\5\6"]


def test_frames_come_once_and_in_order_whatever_the_order_of_packets() -> None:
    random = np.random.default_rng(0)
    for _ in range(50):
        frame_of = np.sort(random.integers(0, 12, 60))
        last = np.append(frame_of[1:] != frame_of[:-1], True)
        packets = [packet(1 + n, 100 + int(frame_of[n]), bool(last[n])) for n in range(60)]
        order = np.argsort(np.arange(60) + random.uniform(0, 4, 60), kind="stable")
        buffer = PromptJitterBuffer(128, is_video=True)
        buffer.add(packet(0, 99, True))
        data = [data for data in frames_of(buffer, [packets[n] for n in order]) if data is not None]
        joined = b"".join(data)
        assert joined == bytes(range(1, len(joined) + 1))
        ends = {int(n) + 1 for n in np.flatnonzero(last)}
        assert {each[-1] for each in data} <= ends


def test_numbers_of_packets_may_begin_again() -> None:
    buffer = PromptJitterBuffer(128, is_video=True)
    packets = [packet(65534, 100, False), packet(65535, 100, True), packet(65536, 200, False), packet(65537, 200, True)]
    assert frames_of(buffer, packets) == [None, b"\xfe\xff", None, b"\0\1"]


def test_a_frame_whose_packet_is_lost_for_good_does_not_hold_up_later_ones_for_ever() -> None:
    buffer = PromptJitterBuffer(16, is_video=True)
    buffer.add(packet(0, 100, True))
    buffer.add(packet(2, 200, True))  # 1 never comes
    asked_again, found = False, []
    for number in range(3, 60):
        is_key_wanted, frame = buffer.add(packet(number, 300 + number // 2, number % 2 == 1))
        asked_again |= is_key_wanted
        found.append(frame)
    assert asked_again
    assert any(frame is not None for frame in found[-4:])


def test_a_lost_packet_is_not_waited_for_long_and_a_whole_picture_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = FakeClock()
    monkeypatch.setattr(peer_module, "time", SimpleNamespace(monotonic=clock))
    buffer = PromptJitterBuffer(128, is_video=True)
    assert frames_of(buffer, [packet(0, 100, True)]) == [b"\0"]
    found = []
    for number in range(3, 30, 2):  # 1 and 2 never come; each frame has two packets, the second of which is marked
        assert buffer.add(packet(number, 100 * number, False)) == (False, None)
        clock.pass_ms(1000 * PATIENCE_S / 4)
        asked, frame = buffer.add(packet(number + 1, 100 * number, True))
        assert frame is None, "a change to a picture that is not there is of no use"
        found.append(asked)
    assert found.index(True) in (3, 4, 5)
    assert 2 <= sum(found) <= 6, "asked for again, but not with each frame"
    assert frames_of(buffer, [packet(32, 5000, False), packet(33, 5000, True)]) == [None, None], "31 is waited for"
    clock.pass_ms(1100 * PATIENCE_S)
    key = [packet(34, 6000, False), packet(35, 6000, True)]
    assert frames_of(buffer, key)[-1] == b"\x22\x23", "even data stand for a whole picture"
    assert frames_of(buffer, [packet(37 - 1, 7000, False), packet(37, 7000, True)]) == [None, b"\x24\x25"]


def test_padding_is_no_picture() -> None:
    buffer = PromptJitterBuffer(128, is_video=True)
    padding = packet(1, 100, False)
    vars(padding)["_data"] = b""
    assert frames_of(buffer, [packet(0, 100, True), padding, packet(2, 200, True)]) == [b"\0", None, b"\2"]


def test_nothing_but_vp8_is_offered() -> None:
    async def work() -> None:
        async with local_peer() as peer:
            names = set(re.findall(r"a=rtpmap:\d+ (\w+)/", (await peer.offer()).lower()))
            assert "vp8" in names and names <= {"vp8", "rtx"}

    run(work())


def test_sound_keeps_its_own_buffer() -> None:
    peer_module.prepare()
    from aiortc import rtcrtpreceiver

    make = vars(rtcrtpreceiver)["JitterBuffer"]
    assert isinstance(make(capacity=128, is_video=True), PromptJitterBuffer)
    assert not isinstance(make(capacity=16, prefetch=4), PromptJitterBuffer)


@pytest.mark.parametrize("was_used", [False, True])
def test_a_track_that_is_stopped_gives_no_picture_more(was_used: bool) -> None:
    async def work() -> None:
        track = PictureTrack()
        if was_used:
            track.put(plain_picture(10), 1.0)
            await track.recv()
        waiting = asyncio.create_task(track.recv())
        await asyncio.sleep(0)
        track.stop()
        with pytest.raises(MediaStreamError):
            await waiting

    run(work())


def test_nothing_but_vp8_is_answered(video_offer: str) -> None:
    async def work() -> None:
        async with local_peer() as peer:
            answer = (await peer.answer(video_offer)).lower()
            assert set(re.findall(r"a=rtpmap:\d+ (\w+)/", answer)) <= {"vp8", "rtx"}

    run(work())
