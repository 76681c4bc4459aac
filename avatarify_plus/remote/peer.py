"""One connection by which pictures travel both ways: WebRTC, by aiortc, whose home this is.

Of what comes in, only the newest picture counts, and of what goes out, too: whoever is slow sees fewer pictures and
never older ones.
"""

from __future__ import annotations

import asyncio
import contextlib
import fractions
import threading
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextvars import ContextVar
from typing import Any, NamedTuple

import aioice.ice
import av
from aiortc import (
    RTCConfiguration,
    RTCIceServer,
    RTCPeerConnection,
    RTCRtpReceiver,
    RTCSessionDescription,
    rtcrtpreceiver,
    rtcrtpsender,
)
from aiortc.codecs import get_encoder, vpx
from aiortc.jitterbuffer import JitterBuffer, JitterFrame
from aiortc.mediastreams import MediaStreamError, MediaStreamTrack
from aiortc.rtp import RtpPacket

from avatarify_plus.errors import RemoteError
from avatarify_plus.types import Image, Size

MAX_SDP = 64_000
"""A longer description of a connection is refused, in characters."""

MAX_MEDIA, MAX_CANDIDATES = 2, 64
"""A description that asks for more is refused: each costs ports, or packets to addresses that somebody else names."""

MAX_PIXELS = 1920 * 1200
"""Larger pictures are left out; the ends send much smaller ones."""

MIN_BITRATE, MAX_BITRATE = 300_000, 2_000_000
"""Of the pictures that go out, in bits a second; the other end's reports decide. It begins with the most."""

FALL, RISE = 0.75, 1.5
"""A reported bitrate counts if it is this share of what is sent or less, or this multiple of what may be sent."""

REPORTED_S, RISE_S = 3.0, 5.0
"""It falls if that is reported for so long, and rises so long after a change."""

PATIENCE_S, ASK_S = 0.25, 0.3
"""A lost packet is waited for so long, and a whole picture asked for so often until it comes."""

CLOCK_HZ = 90_000
GATHER_S = 10.0
"""So long an end may look for its own addresses."""


class IceServer(NamedTuple):
    """A STUN or TURN server that helps two ends to find each other. urls: such as turn:example.org:3478."""

    urls: tuple[str, ...]
    username: str | None = None
    credential: str | None = None

    @property
    def for_pages(self) -> dict[str, Any]:
        """It as browsers take it."""
        found: dict[str, Any] = {"urls": list(self.urls)}
        if self.username is not None:
            found |= {"username": self.username, "credential": self.credential}
        return found


class Received:
    """A picture that came in, as it was decoded. arrived_s: when, by `time.perf_counter`."""

    def __init__(self, frame: Any, arrived_s: float) -> None:
        self._frame = frame
        self.arrived_s = arrived_s

    @property
    def size(self) -> Size:
        """Its size."""
        return Size(self._frame.width, self._frame.height)

    def image(self) -> Image:
        """Return it as (H, W, 3) uint8 RGB; takes a millisecond or so."""
        return self._frame.to_ndarray(format="rgb24")


class PromptJitterBuffer(JitterBuffer):
    """Give a picture as soon as its last packet is there, which is marked as such, and do not wait long for a lost one.

    aiortc waits for the first packet of the next picture, which costs one interval between pictures, and for a packet
    that is lost twice until it has 128 later ones. This one asks for a whole picture (a key frame) after PATIENCE_S.
    """

    _gap_since_s: float | None = None
    _asked_s = -1e9
    _awaits_key = False

    def add(self, packet: RtpPacket) -> tuple[bool, JitterFrame | None]:
        """Take a packet; return whether to ask for a whole picture, and a picture that is complete."""
        wants_key, frame = super().add(packet)
        now_s = time.monotonic()
        if self._awaits_key and now_s - self._asked_s > ASK_S:
            self._asked_s, wants_key = now_s, True
        return wants_key, frame

    def _remove_frame(self, sequence_number: int) -> JitterFrame | None:
        while True:
            frame = self._next_frame()
            if frame is None:
                if not self._skips_gap():
                    return None
            elif not self._awaits_key or _is_key(frame):
                self._awaits_key = False
                return frame

    def _at(self, count: int) -> Any:
        return self._packets[((self._origin or 0) + count) % self._capacity]

    def _next_frame(self) -> JitterFrame | None:
        """Take the oldest picture out, if all of it is there."""
        while (first := self._at(0)) is not None and not first._data:  # padding
            self.remove(1)
        parts: list[Any] = []
        for count in range(self._capacity):
            packet = self._at(count)
            if packet is None:
                return None
            is_next = bool(parts) and packet.timestamp != parts[0].timestamp
            if not is_next:
                parts.append(packet)
            if is_next or packet.marker:
                self.remove(len(parts))
                self._gap_since_s = None
                return JitterFrame(b"".join(each._data for each in parts), parts[0].timestamp)
        return None

    def _skips_gap(self) -> bool:
        """Give up what is missing, if it has been for long; return whether there is something behind it."""
        gap = next(count for count in range(self._capacity + 1) if count == self._capacity or self._at(count) is None)
        behind = [count for count in range(gap + 1, self._capacity) if self._at(count) is not None]
        now_s = time.monotonic()
        if not behind:
            self._gap_since_s = None
            return False
        self._gap_since_s = now_s if self._gap_since_s is None else self._gap_since_s
        if now_s - self._gap_since_s < PATIENCE_S:
            return False
        for count in behind:
            before, packet = self._at(count - 1), self._at(count)
            if before is not None and (before.marker or before.timestamp != packet.timestamp):
                self.remove(count)
                self._gap_since_s, self._awaits_key = None, True
                return True
        return False


def _is_key(frame: JitterFrame) -> bool:
    """Return whether a picture of VP8's is whole in itself (RFC 6386, 9.1)."""
    return bool(frame.data) and not frame.data[0] & 1


def _buffer(capacity: int, prefetch: int = 0, is_video: bool = False) -> JitterBuffer:
    return (PromptJitterBuffer if is_video else JitterBuffer)(capacity, prefetch, is_video)


class SteadyEncoder(vpx.Vp8Encoder):
    """Change the bitrate seldom: aiortc begins a new encoder for it, whose first picture is blurred for everybody.

    Browsers report a low bitrate when little is sent, such as of a still card; that says nothing of the network.
    """

    def __init__(self) -> None:
        super().__init__()
        self._changed_s = time.monotonic()
        self._low_since_s: float | None = None
        self._sent: deque[tuple[float, int]] = deque()  # when, how many bits

    def encode(self, frame: Any, force_keyframe: bool = False) -> tuple[list[bytes], int]:
        """Return a picture's packets and its time."""
        packets, timestamp = super().encode(frame, force_keyframe)
        self._sent.append((time.monotonic(), 8 * sum(map(len, packets))))
        return packets, timestamp

    @property
    def target_bitrate(self) -> int:
        """Bits a second."""
        return int(super().target_bitrate)

    @target_bitrate.setter
    def target_bitrate(self, bitrate: int) -> None:
        now_s, target = time.monotonic(), self.target_bitrate
        while self._sent and now_s - self._sent[0][0] > REPORTED_S:
            self._sent.popleft()
        is_low = bitrate < FALL * sum(bits for _, bits in self._sent) / REPORTED_S
        self._low_since_s = (self._low_since_s or now_s) if is_low else None
        falls = self._low_since_s is not None and now_s - self._low_since_s >= REPORTED_S
        rises = bitrate >= RISE * target and now_s - self._changed_s >= RISE_S
        wanted = max(min(bitrate, MAX_BITRATE), MIN_BITRATE)
        if wanted != target and (falls or rises):
            self._changed_s, self._low_since_s = now_s, None
            vpx.Vp8Encoder.target_bitrate.fset(self, wanted)  # type: ignore[attr-defined]


def _encoder(codec: Any) -> Any:
    return SteadyEncoder() if codec.mimeType.lower() == "video/vp8" else get_encoder(codec)


def prepare() -> None:
    """Have aiortc give pictures at once, at a bitrate that faces need, and listen where it should.

    May be called again.
    """
    vars(rtcrtpreceiver)["JitterBuffer"] = _buffer
    vars(rtcrtpsender)["get_encoder"] = _encoder
    vpx.DEFAULT_BITRATE, vpx.MIN_BITRATE, vpx.MAX_BITRATE = MAX_BITRATE, MIN_BITRATE, MAX_BITRATE
    aioice.ice.get_host_addresses = _host_addresses


_is_local: ContextVar[bool] = ContextVar("is_local", default=False)
_all_addresses = aioice.ice.get_host_addresses


def _host_addresses(use_ipv4: bool, use_ipv6: bool) -> list[str]:
    """Return the addresses of this machine at which a connection listens; aioice leaves out loopback's."""
    return ["127.0.0.1"] if _is_local.get() else list(_all_addresses(use_ipv4, use_ipv6))


class PictureTrack(MediaStreamTrack):
    """The pictures that go out, the newest at a time."""

    kind = "video"

    def __init__(self) -> None:
        """Make a track; the loop that runs now is the one that sends it."""
        super().__init__()
        self._sending_loop = asyncio.get_running_loop()
        self._news = asyncio.Event()
        self._lock = threading.Lock()
        self._newest: tuple[Any, float] | None = None
        self._last_pts = -1

    def put(self, image: Image, time_s: float) -> None:
        """Send a picture (H, W, 3) uint8 RGB that belongs to a time; any thread may call.

        The picture is copied.
        """
        frame = av.VideoFrame.from_ndarray(image, format="rgb24")
        with self._lock:
            self._newest = frame, time_s
        with contextlib.suppress(RuntimeError):  # the loop has ended
            self._sending_loop.call_soon_threadsafe(self._news.set)

    async def recv(self) -> Any:
        """Return the next picture; aiortc calls it."""
        if self.readyState != "live":
            raise MediaStreamError
        await self._news.wait()
        self._news.clear()
        with self._lock:
            newest = self._newest
        if self.readyState != "live" or newest is None:
            raise MediaStreamError
        frame, time_s = newest
        # the same picture may be sent again, and times must go forward
        self._last_pts = max(round(time_s * CLOCK_HZ), self._last_pts + 1)
        frame.pts, frame.time_base = self._last_pts, fractions.Fraction(1, CLOCK_HZ)
        return frame

    def stop(self) -> None:
        """End the track."""
        super().stop()
        self._news.set()


class Peer:
    """One end of a connection. All methods but `send` belong to the loop in which it was made.

    is_lost: whether the other end is out of reach.
    """

    def __init__(
        self, on_picture: Callable[[Received], None], ice_servers: Sequence[IceServer] = (), is_local: bool = False
    ) -> None:
        """Make an end without a connection.

        on_picture: is called in the loop with each picture that comes, and must not take long. is_local: both ends are
        on this machine; nothing listens beyond it.
        """
        prepare()
        servers = [RTCIceServer(list(each.urls), each.username, each.credential) for each in ice_servers]
        self._connection = RTCPeerConnection(RTCConfiguration(iceServers=servers))
        self._track = PictureTrack()
        self._on_picture = on_picture
        self._is_local = is_local
        self._tasks: set[asyncio.Task[None]] = set()
        self.is_lost = False

        @self._connection.on("track")
        def follow(track: Any) -> None:
            if track.kind == "video" and not self._tasks:
                self._tasks.add(asyncio.create_task(self._receive(track)))

        @self._connection.on("connectionstatechange")
        async def notice() -> None:
            self.is_lost = self._connection.connectionState in ("failed", "closed", "disconnected")

    @property
    def is_connected(self) -> bool:
        """Whether pictures can travel."""
        return bool(self._connection.connectionState == "connected")

    def send(self, image: Image, time_s: float) -> None:
        """Send a picture, see `PictureTrack.put`; any thread may call."""
        self._track.put(image, time_s)

    async def answer(self, offer: str) -> str:
        """Accept what the other end offers and return the answer. Raises RemoteError."""
        check_description(offer)
        if [line.split()[0] for line in offer.splitlines() if line.startswith("m=")] != ["m=video"]:
            raise RemoteError("the offer must have one video, to be sent and received")
        try:
            self._add_track()  # first: codecs are chosen when the offer is taken
            await self._connection.setRemoteDescription(RTCSessionDescription(offer, "offer"))
            return await self._describe(self._connection.createAnswer)
        except Exception as error:  # aiortc's parser raises whatever it stumbles over
            raise RemoteError(f"the offer cannot be used: {type(error).__name__}") from error

    async def offer(self) -> str:
        """Return what the other end has to answer."""
        self._add_track()
        return await self._describe(self._connection.createOffer)

    async def accept(self, answer: str) -> None:
        """Take the other end's answer to the offer. Raises RemoteError."""
        check_description(answer)
        try:
            await self._connection.setRemoteDescription(RTCSessionDescription(answer, "answer"))
        except Exception as error:
            raise RemoteError(f"the answer cannot be used: {type(error).__name__}") from error

    async def close(self) -> None:
        """End the connection; may be called again."""
        for task in self._tasks:
            task.cancel()
        self._track.stop()
        await self._connection.close()

    def _add_track(self) -> None:
        """Send the track, and take nothing but VP8, which every browser knows, and what repairs it."""
        self._connection.addTrack(self._track)
        known = RTCRtpReceiver.getCapabilities("video")
        assert known is not None, "aiortc knows video"
        wanted = [codec for codec in known.codecs if codec.mimeType.lower() in ("video/vp8", "video/rtx")]
        for transceiver in self._connection.getTransceivers():
            transceiver.setCodecPreferences(wanted)

    async def _describe(self, create: Callable[[], Awaitable[Any]]) -> str:
        """Return this end's description, with the addresses that it was found at."""
        _is_local.set(self._is_local)
        await asyncio.wait_for(self._connection.setLocalDescription(await create()), GATHER_S)
        return str(self._connection.localDescription.sdp)

    async def _receive(self, track: Any) -> None:
        """Hand on pictures as they come."""
        with contextlib.suppress(MediaStreamError):
            while True:
                frame = await track.recv()
                if frame.width * frame.height <= MAX_PIXELS:
                    self._on_picture(Received(frame, time.perf_counter()))


def check_description(sdp: object) -> None:
    """Raise RemoteError unless a description has a size and a content that are harmless."""
    if not isinstance(sdp, str) or len(sdp) > MAX_SDP:
        raise RemoteError("the description of the connection is too long or no text")
    lines = sdp.splitlines()
    media = sum(line.startswith("m=") for line in lines)
    candidates = sum(line.startswith("a=candidate") for line in lines)
    if media > MAX_MEDIA or candidates > MAX_CANDIDATES:
        raise RemoteError(f"the description names {media} media and {candidates} addresses, which is too many")
