"""How it came out."""

from __future__ import annotations

from dataclasses import dataclass, field


class TortureError(Exception):
    """Something went wrong that is no loss of a run."""


@dataclass
class Result:
    """How many runs there were, were stored, and were lost; and of how many that is known."""

    truth: int = 0
    stored: int = 0
    counted: int = 0
    wrong: list[str] = field(default_factory=list)

    def add(self, other: Result) -> None:
        self.truth += other.truth
        self.stored += other.stored
        self.counted += other.counted
        self.wrong += other.wrong

    @property
    def lost(self) -> int:
        return self.truth - self.stored

    @property
    def is_even(self) -> bool:
        return self.lost == self.counted and not self.wrong

    def __str__(self) -> str:
        return (
            f"truth {self.truth:,} runs = stored {self.stored:,} + lost {self.lost:,}"
            f" (counted {self.counted:,}): {'equal' if self.is_even else 'NOT equal'}"
        )
