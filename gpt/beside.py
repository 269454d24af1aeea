"""What is done beside training: evaluations, samples and range tests. None of them leaves the weights changed."""

from __future__ import annotations

from collections.abc import Sequence

from gpt import commands
from gpt.earlier import compare_samples
from gpt.rangetest import try_rates
from gpt.run import Run
from gpt.sampler import draw_samples


class Beside:
    """Evaluates and samples one run."""

    def __init__(self, run: Run) -> None:
        self._run = run

    def maybe_evaluate(self) -> None:
        """Evaluates where the interval says so."""
        if self._run.due(self._run.profile.train.eval_interval):
            self.evaluate()

    def maybe_sample(self) -> None:
        """Samples where the interval says so, or before an evaluation."""
        run = self._run
        if run.step == run.record.first_step > 0:
            return  # drawn by the sitting that saved this step
        if run.profile.sample.at_evaluation and run.due(run.profile.train.eval_interval):
            self.sample(commands.Sample(every_prompt=True))
        elif run.due(run.profile.sample.interval):
            self.sample(commands.Sample(), run.profile.sample.prompts)

    def evaluate(self, *, whole: bool = False) -> None:
        """Estimates both losses with dropout off; saves when the validation loss is the lowest so far."""
        run = self._run
        if run.evaluator.knows(run.step, whole=whole):
            return  # nothing has changed since
        with run.doing("evaluating", "evaluate"):
            run.reporter.maybe_measure_peak()
            best = run.evaluator.evaluate(run.step, run.snapshot.forward, run.profile, whole=whole, go_on=self._goes_on)
        if best and run.step and run.profile.checkpoint.best:
            run.record.save("best", best=True)

    def sample(self, command: commands.Sample, prompts: Sequence[str] | None = None) -> None:
        """Continues a prompt, or several, with generators of their own; the first rank does, the others wait."""
        run = self._run
        with run.doing("sampling", "sample"), run.ranks.whole(run.snapshot.model):
            drawn = run.ranks.is_first and draw_samples(
                run.snapshot.model, run.data.tokenizer, run.device, run.profile.sample, command, prompts=prompts,
                number=run.samples + 1, step=run.step, emit=run.emit, go_on=self._speaks_on,
            )  # fmt: skip
            if drawn and command.against is not None:
                drawn += compare_samples(
                    run.record.saver.parent, run.snapshot, run.data.tokenizer, run.profile, command,
                    number=run.samples + 1, drawn=drawn, emit=run.emit, go_on=self._speaks_on,
                )  # fmt: skip
            run.samples += run.ranks.agree(drawn)

    def range_test(self, command: commands.RangeTest) -> None:
        """Tries ever higher rates on the training state, which is put back. Its time is the phase `other`'s."""

        def go_on() -> bool:
            self._run.reporter.tick()
            return not self._run.inbox.holds_break

        with self._run.doing("testing", "other"):
            try_rates(self._run, command, go_on)

    def _goes_on(self) -> bool:
        """Asked while something is done; False where a Stop waits, which breaks it off."""
        self._run.reporter.tick()
        return not self._run.inbox.holds_stop

    def _speaks_on(self) -> bool:
        """Asked after each token of a sample; a StopSampling ends it as well."""
        return self._goes_on() and not self._run.inbox.holds_stop_sampling
