"""What goes wrong between a host and a board: errors, their sentences, and what is only counted."""

from __future__ import annotations

from dataclasses import dataclass, field

from bpgen.errors import BpgenError
from bpgen.wire import Message, Status
from bpgen_host.link import LinkError


class NoAnswer(LinkError):  # noqa: N818
    """The board says nothing at all, or nothing any more."""


class NotABoard(LinkError):  # noqa: N818
    """Something answers, but no bpgen firmware of a protocol this host speaks."""


class RestartLoop(LinkError):  # noqa: N818
    """The board starts again and again."""


class Restarted(LinkError):  # noqa: N818
    """
    The board restarted, or another host took it over, in the middle of requests.

    What was on the way is void; `Device.hello` tells which state the board has.
    """


class Refused(BpgenError):  # noqa: N818
    """The board answered a request with `status`; `gen` is its generation."""

    exit_code = 3

    def __init__(self, message: str, status: int, gen: int) -> None:
        super().__init__(message)
        self.status = status
        self.gen = gen


@dataclass
class Faults:
    """
    What the host saw go wrong on the line since the device was opened.

    `stale` are replies that nobody waits for, `bad` pieces that were no frame, by reason: cobs,
    length, crc; the piece that the host began to listen in may be cut and does not count.
    """

    retries: int = 0
    timeouts: int = 0
    lost_replies: int = 0
    refused: int = 0
    restarts: int = 0
    stale: int = 0
    bad: dict[str, int] = field(default_factory=dict)

    @property
    def total(self) -> int:
        """All of them in one number, for a progress line."""
        counted = self.lost_replies + self.refused + self.restarts + self.stale
        return self.retries + self.timeouts + counted + sum(self.bad.values())

    def __str__(self) -> str:
        counts = {name.replace("_", " "): n for name, n in vars(self).items() if name != "bad"}
        counts |= {f"bad {reason}": n for reason, n in self.bad.items()}
        return ", ".join(f"{n} {name}" for name, n in counts.items() if n) or "no faults"


_REASONS = {
    Status.E_GEN: "its state has changed meanwhile: start again",
    Status.E_LEN: "its firmware is of another version: build it again with 'bpgen new'",
    Status.E_TYPE: "its firmware cannot do that: build it from a model that can",
    Status.E_RANGE: "a value is out of the range of its model: use the data of that model",
    Status.E_STATE: "it is in the middle of setting or saving weights: try again, or restart it",
    Status.E_HW: "its memory did not take what was written: it may be worn out",
}
_LEARNING = "its firmware can only infer: build it from a model that learns"
_STORING = "its firmware stores nothing: build it for a board and from a model that can"
_SPECIAL = {
    (Message.TRAIN, Status.E_TYPE): _LEARNING,
    (Message.TRAIN_N, Status.E_TYPE): _LEARNING,
    (Message.BACKWARD, Status.E_TYPE): _LEARNING,
    (Message.SAVE, Status.E_TYPE): _STORING,
    (Message.LOAD, Status.E_TYPE): _STORING,
    (Message.LOAD, Status.E_STATE): "nothing is stored for its model: save first",
    (Message.GRADS, Status.E_STATE): "the gradient is gone: ask for it again",
    (Message.SETW_COMMIT, Status.E_STATE): "the weights did not arrive whole: set them again",
    (Message.SET_PARAM, Status.E_RANGE): "its model has no such parameter, or cannot use the value",
}


def refusal(message: Message, status: int) -> str:
    """The sentence for a request that the board refuses."""
    try:
        named = Status(status)
    except ValueError:
        return (
            f"the board refuses {message.name} for a reason that this host does not know "
            f"({status}): use the bpgen that built its firmware"
        )
    reason = _SPECIAL.get((message, named)) or _REASONS[named]
    return f"the board refuses {message.name}: {reason}"
