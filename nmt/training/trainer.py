"""The training loop. It does not know which executor runs the model, nor on how many devices."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager, ExitStack, nullcontext

from torch import Tensor

from nmt.config import TrainConfig
from nmt.corpus.prepare import PreparedData
from nmt.errors import StoppedError, TrainingError
from nmt.model.batch import Batch
from nmt.model.folder import ModelDescription, expected_shapes
from nmt.parallel.executor import Executor, StepResult
from nmt.parallel.state import check_state
from nmt.training.average import mean_of_checkpoints
from nmt.training.checkpoint import STATE, Checkpoints, Progress, find_checkpoint
from nmt.training.halving import Halving
from nmt.training.identity import run_identity
from nmt.training.metrics import Metrics, Moment
from nmt.training.notices import (
    has_diverged,
    notice_blank_lines,
    notice_divergence,
    notice_rule,
    notice_tokenizer,
    notice_zeros,
)
from nmt.training.optimizer import learning_rate_factor
from nmt.training.plateau import after_validation
from nmt.training.scores import Scores
from nmt.training.stopping import StopSignals
from nmt.training.tracing import Tracing
from nmt.training.validation import (
    discard,
    publish,
    score_sets,
    translate_sets,
    validation_losses,
    write_candidate,
)

logger = logging.getLogger(__name__)


class Trainer:
    """Trains one model in one run folder. Every process of a parallel run has a trainer; all make
    the same decisions, and only the main one writes files."""

    def __init__(
        self,
        config: TrainConfig,
        data: PreparedData,
        executor: Executor,
        description: ModelDescription,
        started: float,
    ) -> None:
        self._config, self._settings = config, config.training
        self._data, self._batches = data, data.batches()
        self._executor, self._description = executor, description
        self._checkpoints = Checkpoints(
            config.folder / "checkpoints",
            max(self._settings.keep_checkpoints, self._settings.average.checkpoints)
            if self._settings.average.kind == "checkpoints"
            else self._settings.keep_checkpoints,
        )
        self._identity = run_identity(config, data)
        self._progress = Progress(identity=self._identity)
        self._signals = StopSignals()
        self._saved_step = -1  # of the last checkpoint; all processes count it, one writes it
        self._started = started
        self._tracing = (
            Tracing(executor, config.folder, f"{config.name}, {config.parallel.executor}")
            if config.parallel.trace
            else None
        )
        self._halving = Halving(self._settings.halving, config.name)
        self._metrics: Metrics | None = None
        self._diverged = False  # whether the log says so
        self._last: StepResult | None = None  # of the last step, until it is counted

    def run(self) -> Progress:
        """Train until a limit is reached or the scores stop improving."""
        self._resume()
        with ExitStack() as stack:
            stack.enter_context(self._signals.noted())
            if self._executor.is_main:
                self._metrics = stack.enter_context(
                    Metrics(self._config.folder, self._progress.step, self._settings.log_seconds)
                )
                notice_blank_lines(self._data)
                notice_rule(self._config)
                notice_tokenizer(self._config)
            while not self._finished():
                self._stop_if_asked()
                self._step()
                step = self._progress.step
                if step % self._settings.validate_every == 0 and step >= max(
                    1, self._settings.validate_first
                ):
                    improved = self._validate()
                    after_validation(self._config.schedule, self._progress, improved)
                if step % self._settings.checkpoint_every == 0:
                    self._checkpoint()
                if self._is_outdone():
                    self._progress.ended_by = "training.halving"
                    break
            self._end()
        return self._progress

    def _is_outdone(self) -> bool:
        """Whether a rung of the successive halving has been reached, and rivals are better."""
        if self._settings.halving.folder is None:
            return False
        rung = self._executor.from_main(
            lambda: self._halving.reached(self._seconds(), self._progress.target_tokens)
        )
        if rung is None:
            return False
        with self._using(None):
            losses = validation_losses(self._executor, self._data)
        mean = sum(losses.values()) / len(losses)
        return not self._executor.from_main(lambda: self._halving.survives(rung, mean))

    def _stop_if_asked(self) -> None:
        """Save and stop if any of the processes has been sent a signal; all stop after the same
        step."""
        number = self._executor.largest(self._signals.number)
        if not number:
            return
        if self._saved_step != self._progress.step:
            self._checkpoint()
        raise StoppedError(
            f"Training was stopped by a signal after step {self._progress.step}, which is saved; "
            "run the same command again to resume.",
            number,
        )

    def _step(self) -> None:
        begin = time.perf_counter()
        progress, settings = self._progress, self._settings
        pairs = next(self._batches)
        done = self._part_done()
        rate = self._config.optimizer.learning_rate * learning_rate_factor(
            self._config.schedule, progress.step, done
        )
        if self._config.schedule.name == "plateau":
            rate *= progress.rate_factor
        batch = Batch.from_rows(pairs.source, pairs.target)
        result = self._executor.train_step(batch, progress.step, rate, done)
        self._count_last()
        if self._tracing:
            self._tracing.after_step()
        progress.step += 1
        progress.epoch = pairs.epoch
        progress.target_tokens += result.tokens
        self._last = result
        if settings.average.kind == "weights" and progress.step % settings.average.every == 0:
            self._executor.update_average(settings.average.decay)
        logged = progress.step % settings.log_every == 0
        if logged:
            self._count_last()
        progress.recent_seconds += time.perf_counter() - begin
        if logged:
            self._log(result, rate)

    def _count_last(self) -> None:
        """Add the last step's loss to the progress. It is read once the next step has been
        launched, so that a GPU never waits for this process."""
        result, progress = self._last, self._progress
        if result is None:
            return
        self._last = None
        if not (math.isfinite(result.loss) and math.isfinite(result.gradient_norm)):
            raise TrainingError(
                f"The loss and the gradient must be finite, but are {result.loss:g} and "
                f"{result.gradient_norm:g} at step {progress.step}; use a lower "
                "`optimizer.learning_rate` or `optimizer.clip_norm` in a new run, with another "
                "`name`."
            )
        if not self._diverged and has_diverged(result.loss, len(self._data.vocabulary)):
            self._diverged = True
            if self._executor.is_main:
                notice_divergence(result.loss, progress.step, len(self._data.vocabulary))
        progress.recent_loss += result.loss * result.tokens
        progress.recent_tokens += result.tokens

    def _log(self, result: StepResult, rate: float) -> None:
        progress = self._progress
        speed = progress.recent_tokens / progress.recent_seconds
        loss = progress.recent_loss / progress.recent_tokens
        progress.recent_loss, progress.recent_tokens, progress.recent_seconds = 0.0, 0, 0.0
        if not self._metrics:
            return
        self._metrics.write(
            progress.step,
            "train",
            {
                "loss": loss,
                "gradient_norm": result.gradient_norm,
                "learning_rate": rate,
                "tokens_per_second": speed,
                "epoch": progress.epoch,
                "target_tokens": progress.target_tokens,
                "seconds": self._seconds(),
            },
        )
        part, minutes = self._part_done(), self._settings.max_minutes
        if minutes is not None:
            part = max(part, self._seconds() / (60 * minutes))
        self._metrics.show(Moment(part, progress.step, progress.epoch, loss, rate, speed))

    def _part_done(self) -> float:
        """The fraction of the run that is done, by steps and epochs and never by the clock, so that
        a resumed or repeated run has the same learning rates."""
        parts = [0.0]
        if self._settings.max_steps:
            parts.append(self._progress.step / self._settings.max_steps)
        if self._settings.max_epochs:
            parts.append(self._progress.epoch / self._settings.max_epochs)
        if self._settings.max_tokens:
            parts.append(self._progress.target_tokens / self._settings.max_tokens)
        return max(parts)

    def _seconds(self) -> float:
        return self._progress.seconds + time.monotonic() - self._started

    def _progress_now(self) -> Progress:
        """A copy of the progress with the time so far."""
        return Progress(**{**vars(self._progress), "seconds": self._seconds()})

    def _finished(self) -> bool:
        self._progress.ended_by = self._limit()
        return bool(self._progress.ended_by)

    def _limit(self) -> str:
        """The setting whose limit has been reached; empty if there is none."""
        settings, progress = self._settings, self._progress
        if self._part_done() >= 1:
            if settings.max_steps is not None and progress.step >= settings.max_steps:
                return "training.max_steps"
            if settings.max_tokens is not None and progress.target_tokens >= settings.max_tokens:
                return "training.max_tokens"
            return "training.max_epochs"
        if settings.patience is not None and progress.without_improvement >= settings.patience:
            return "training.patience"
        if settings.max_minutes is None or progress.step % settings.log_every:
            return ""
        late = self._executor.from_main(self._seconds) >= 60 * settings.max_minutes
        return "training.max_minutes" if late else ""

    def _say_why_it_ended(self) -> None:
        progress = self._progress
        if self._metrics and progress.ended_by == "training.patience":
            self._metrics.say(
                f"early stopping at step {progress.step}: {self._settings.best_by} has not "
                f"improved in {progress.without_improvement} validations "
                f"(`training.patience={self._settings.patience}`); "
                f"the best model is that of step {progress.best_step}"
            )

    def _validate(self, weights: Mapping[str, Tensor] | None = None) -> bool:
        """Score weights, by default the average, or else the executor's own, and publish them if
        none were better → whether all before were worse."""
        self._count_last()
        executor, progress = self._executor, self._progress
        config, data, description = self._config, self._data, self._description
        with self._using(weights):
            losses = validation_losses(executor, data)
            gathered = executor.gather_parameters()
            candidate = executor.from_main(
                lambda: write_candidate(config, data, description, gathered)
            )
        translations = translate_sets(candidate, config, data, executor)
        tokenizer = self._settings.bleu_tokenizer
        scores = executor.from_main(lambda: score_sets(data, losses, translations, tokenizer))
        self._report(scores)
        score = scores.quality(self._settings.best_by)
        progress.validated_step = progress.step
        improved = progress.best_score is None or score > progress.best_score
        progress.without_improvement = 0 if improved else progress.without_improvement + 1
        if improved or score == progress.best_score:  # of equals, the later is the better trained
            progress.best_score, progress.best_step = score, progress.step
            progress.best_scores = {name: one.as_values() for name, one in scores.sets.items()}
            if executor.is_main:
                publish(candidate, config, data, scores, self._progress_now())
        elif executor.is_main:
            discard(candidate)
        return improved

    def _using(self, weights: Mapping[str, Tensor] | None) -> AbstractContextManager[None]:
        """Inside, the executor has the weights that are to be scored."""
        if weights is not None:
            return self._executor.using(weights)
        return self._executor.using_average() if self._executor.has_average else nullcontext()

    def _report(self, scores: Scores) -> None:
        if not self._metrics:
            return
        self._progress.zero_scores = notice_zeros(self._config, scores, self._progress.zero_scores)
        self._metrics.write(self._progress.step, "validation", scores.as_metrics())
        self._metrics.say(
            f"step {self._progress.step}, epoch {self._progress.epoch:.1f}, "
            f"{self._seconds() / 60:.1f} min: {scores}"
        )

    def _checkpoint(self) -> None:
        self._count_last()
        state = self._executor.state_dict()
        self._saved_step = self._progress.step
        if not self._executor.is_main:
            return
        progress = self._progress_now()
        progress.data = self._batches.state_dict()
        progress.identity = self._identity
        self._checkpoints.write(progress, state)

    def _resume(self) -> None:
        folder = find_checkpoint(self._config)
        if folder is None:
            return
        progress, state = self._checkpoints.read(folder)
        shapes = expected_shapes(self._description.graph())
        check_state(state, shapes, str(folder / STATE))
        assert progress.data is not None, "this has been checked"
        self._batches.load_state_dict(progress.data)
        self._executor.load_state_dict(state)
        self._progress = progress
        self._saved_step = progress.step
        self._halving.resume(progress.seconds, progress.target_tokens)
        if self._executor.is_main:
            self._checkpoints.set_aside(folder)
        logger.info("resuming from step %d (%s)", progress.step, folder)

    def _end(self) -> None:
        if self._tracing:
            self._tracing.finish()
        progress = self._progress
        step = progress.step
        self._say_why_it_ended()
        unscored = progress.validated_step != step or progress.best_score is None
        if unscored:
            self._validate()
        if unscored or self._saved_step != step:
            self._checkpoint()
        if self._settings.average.kind == "checkpoints" and progress.averaged_step != step:
            # The others wait until the main process has written the last checkpoint.
            folders = self._executor.from_main(self._checkpoints.all)
            self._validate(mean_of_checkpoints(folders[-self._settings.average.checkpoints :]))
            progress.averaged_step = step
            self._checkpoint()  # again, so that a resumed run knows the best score
        progress.seconds = self._seconds()
        self._started = time.monotonic()
