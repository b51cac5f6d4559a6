"""The worker as the process of a unit knows it: who is asked, told, and takes its events."""

from __future__ import annotations

import itertools
import os
import signal
import threading
from collections.abc import Mapping, Sequence
from queue import SimpleQueue
from typing import BinaryIO

from tiffin.builder.events import Event
from tiffin.builder.farm.pipes import read_frame, write_frame
from tiffin.builder.farm.values import AgentSaid, AskAgent, AskBlob, AskRecord, Brought, Happened, Records, Unit
from tiffin.builder.value_bytes import decode, encode
from tiffin.cache.backend import StepRecord
from tiffin.cache.foundation.digest import Digest
from tiffin.cache.foundation.typing_shim import TYPE_CHECKING
from tiffin.cache.store.snapshots import BlobRef

if TYPE_CHECKING:
    from tiffin.builder.image.layers import LayerStore
    from tiffin.builder.sharing.caches import SharedCaches

ANSWER_SECONDS = 3600.0  # a driver that has to fetch a layer first; one that is gone ends this process anyway
END_SECONDS = 5.0  # to end in order


class WorkerLink:
    """The process that started this one; also the sink of events."""

    def __init__(self, incoming: BinaryIO, outgoing: BinaryIO) -> None:
        self._incoming = incoming
        self._outgoing = outgoing
        self._lock = threading.Lock()  # of what goes out
        self._asking = threading.Lock()  # one question for records at a time
        self._records: SimpleQueue[Records] = SimpleQueue()
        self._brought: dict[Digest, SimpleQueue[Brought]] = {}
        self._said: dict[int, SimpleQueue[bytes]] = {}
        self._numbers = itertools.count()
        self.unit = ""

    def first(self) -> Unit:
        """Return what comes first, the unit. Ends the process where nothing comes."""
        data = read_frame(self._incoming)
        if data is None:
            os._exit(1)
        unit = decode(data)
        assert isinstance(unit, Unit)
        self.unit = unit.name
        return unit

    def listen(self) -> None:
        """Take answers from now on; the process may have threads."""
        threading.Thread(target=self._listen, name="worker", daemon=True).start()

    def _listen(self) -> None:
        while (data := read_frame(self._incoming)) is not None:
            value = decode(data)
            if isinstance(value, Records):
                self._records.put(value)
            elif isinstance(value, Brought) and value.digest in self._brought:
                self._brought[value.digest].put(value)
            elif isinstance(value, AgentSaid) and value.number in self._said:
                self._said[value.number].put(value.answer)
        threading.Timer(END_SECONDS, os._exit, (1,)).start()  # the worker is gone
        os.kill(os.getpid(), signal.SIGTERM)

    def tell(self, value: object) -> None:
        """Send a value."""
        with self._lock:
            write_frame(self._outgoing, encode(value))

    def emit(self, event: Event) -> None:
        """Receive an event of a step."""
        self.tell(Happened(unit=self.unit, event=event))

    def records(self, keys: Sequence[Digest]) -> Mapping[Digest, StepRecord]:
        """Return what the driver's caches have."""
        with self._asking:
            self.tell(AskRecord(unit=self.unit, keys=tuple(keys)))
            return self._records.get(timeout=ANSWER_SECONDS).records

    def bring(self, ref: BlobRef, *, last: bool = False) -> str:
        """Have a blob brought into the store of this machine; return why it is not there, "" if it is."""
        answers = self._brought.setdefault(ref.digest, SimpleQueue())
        self.tell(AskBlob(unit=self.unit, ref=ref, last=last))
        answer = answers.get(timeout=ANSWER_SECONDS)
        return "" if answer.is_here else answer.reason or "no other machine has it"

    def ask_agent(self, agent: str, request: bytes) -> bytes:
        """Return what an ssh agent of the driver answers."""
        number = next(self._numbers)
        answers = self._said[number] = SimpleQueue()
        try:
            self.tell(AskAgent(unit=self.unit, number=number, agent=agent, request=request))
            return answers.get(timeout=ANSWER_SECONDS)
        finally:
            del self._said[number]


class DriverCache:
    """What the driver's caches have, as one more tier; their layers count as present."""

    name = "farm"

    def __init__(self, worker: WorkerLink, layers: LayerStore, shared: SharedCaches | None) -> None:
        self._worker = worker
        self._layers = layers
        self._shared = shared

    def get_many(self, keys: Sequence[Digest]) -> Mapping[Digest, StepRecord]:
        found = self._worker.records(keys)
        for record in found.values():
            if record.layer is not None:
                self._layers.expect(record.diff_id, record.layer)
                if self._shared is not None:
                    self._shared.may_have(record.layer, record.diff_id)
        return found

    def put(self, key: Digest, record: StepRecord) -> None:
        """Do nothing: the driver learns it from the result."""
