"""What a run has done, does and has still to do. Times are seconds since the epoch; nothing is read or printed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from snakemake_logger_plugin_ptqbench.words import Step, duration


@dataclass
class Job:
    """A job as Snakemake announced it."""

    name: str
    rule: str
    logs: tuple[str, ...]
    begun: float


@dataclass
class Run:
    """A run: ``waiting`` counts each rule's jobs that have not begun, ``known`` is what one took in earlier runs."""

    known: dict[str, float] = field(default_factory=dict)
    waiting: dict[str, int] = field(default_factory=dict)
    total: int = 0
    running: dict[int, Job] = field(default_factory=dict)
    taken: dict[str, list[float]] = field(default_factory=dict)
    failed: list[Job] = field(default_factory=list)
    done: int = 0
    begun: float = 0.0

    def plan(self, stats: Mapping[str, int], now: float) -> None:
        """Take Snakemake's counts of jobs by rule."""
        self.waiting = {rule: count for rule, count in stats.items() if rule != "total"}
        self.total, self.begun = sum(self.waiting.values()), now

    def start(self, number: int, job: Job) -> None:
        """A job runs, perhaps not for the first time."""
        self.running[number] = job
        self.waiting[job.rule] = max(0, self.waiting.get(job.rule, 0) - 1)

    def finish(self, number: int, now: float) -> tuple[Job, float] | None:
        """A job is done: it, and the seconds that it took."""
        if (job := self.running.pop(number, None)) is None:
            return None
        self.done += 1
        self.failed = [other for other in self.failed if other.name != job.name]  # it was tried again
        self.taken.setdefault(job.rule, []).append(now - job.begun)
        return job, now - job.begun

    def fail(self, number: int) -> Job | None:
        """A job ended without its output; one that Snakemake tries again is announced again."""
        if (job := self.running.pop(number, None)) is not None:
            self.failed.append(job)
        return job

    def rate(self, rule: str) -> float | None:
        """Seconds that a job of a rule takes: in this run, or else in earlier ones; of any rule where it is new."""
        if own := self.taken.get(rule):
            return sum(own) / len(own)
        if rule in self.known:
            return self.known[rule]
        others = [seconds for jobs in self.taken.values() for seconds in jobs] or list(self.known.values())
        return sum(others) / len(others) if others else None

    def left(self, now: float, steps: Mapping[int, Step]) -> float | None:
        """Seconds until the end, if as many jobs run at once as have so far; None while nothing tells."""
        rates = {rule: self.rate(rule) for rule in (*self.waiting, *(job.rule for job in self.running.values()))}
        if any(rate is None for rate in rates.values()):
            return None
        known = {rule: rate for rule, rate in rates.items() if rate is not None}
        running = [
            steps[number].left if number in steps else max(0.0, known[job.rule] - (now - job.begun))
            for number, job in self.running.items()
        ]
        waiting = sum(count * known[rule] for rule, count in self.waiting.items())
        return max([*running, (sum(running) + waiting) / self._at_once(now)])

    def _at_once(self, now: float) -> float:
        elapsed = now - self.begun
        if elapsed < 1:
            return max(1.0, len(self.running))
        finished = sum(seconds for jobs in self.taken.values() for seconds in jobs)
        return max(1.0, (finished + sum(now - job.begun for job in self.running.values())) / elapsed)

    def line(self, now: float, steps: Mapping[int, Step]) -> str:
        """``14 of 46 · about 1 h 10 left``."""
        said = [f"{self.done} of {self.total}"]
        if self.failed:
            said.append(f"{len(self.failed)} failed")
        if self.done < self.total and (left := self.left(now, steps)) is not None:
            said.append(f"about {duration(left)} left")
        return " · ".join(said)

    def job_lines(self, now: float, steps: Mapping[int, Step]) -> list[str]:
        """``quantize pocket-llama/wikitext2/gptq/w4g128 · block 8/32 · 30 s left``, one for each job that runs."""
        lines = []
        for number, job in self.running.items():
            step = steps.get(number)
            said = [step.name, f"{duration(step.left)} left"] if step else [duration(now - job.begun)]
            lines.append(" · ".join([job.name, *said]))
        return lines
