"""The handlers that end a training and that write checkpoints."""
import mxnet as mx
from mxnet.gluon.contrib import estimator as stock

from .. import _check
from ..checkpoint import metric_state, restore_metric
from ..stop import Judge, Outcome, Signals
from . import state
from .handler import loss_metrics, update


class Plain(mx.metric.CompositeEvalMetric):
    """Metrics of an Estimator by names without 'training' and 'validation' before them."""

    def __init__(self, metrics):
        super().__init__()
        self.metrics = metrics

    def get(self):
        """Names and values."""
        return self._plain(*super().get())

    def get_global(self):
        """Names and values since the start of the epoch."""
        return self._plain(*super().get_global())

    @staticmethod
    def _plain(names, values):
        return [name.split(" ", 1)[-1] for name in names], values


def values(estimator):
    """Values of this epoch by 'train' and 'validation', then by name."""
    found = {"train": dict(Plain(estimator.train_metrics).get_global_name_value())}
    if estimator.run.validated:
        found["validation"] = dict(Plain(estimator.val_metrics).get_global_name_value())
    return found


class StopHandler(stock.EpochBegin, stock.BatchEnd, stock.EpochEnd):
    """End the training where criteria say so, or at a signal: the epoch's validation and handlers still run.

    Where batches are gathered for a step, that step is waited for. `Estimator.fit` makes one from its arguments.

    Args:
        estimator: whose training it is.
        criteria: those of `mxloss.stop`, one or a list.
        validation: whether there will be validation.
        on_signal: whether SIGINT and SIGTERM end the training too.
        priority: handlers are called from the lowest to the highest.

    Attributes:
        workers: `mxloss.workers.Workers` that have to stop at the same batch, None for this process alone.
        outcome: `mxloss.stop.Outcome` once it is over, None before.
    """

    def __init__(self, estimator, criteria=None, *, validation=False, on_signal=False, priority=-600):
        self.priority, self.workers = priority, None
        self.judge = Judge("fit", criteria, Plain(estimator.train_metrics), validation=validation,
                           validation_metric=Plain(estimator.val_metrics))
        self.signals = Signals(_check.flag("fit", "stop_on_signal", on_signal))
        self.outcome = self._found = None

    def epoch_begin(self, estimator, *args, **kwargs):
        """Start the windows of the epoch."""
        self.judge.begin_epoch()

    def batch_end(self, estimator, *args, **kwargs):
        """Whether it is over."""
        for window in self.judge.windows:
            update(window.metrics, kwargs["loss"])
        run = estimator.run
        self._found = self._agreed(self._found or self.judge.batch_done(*run.last) or self._caught(run), run)
        if self._found and not estimator.pending:
            self.outcome = self._found._replace(epoch=run.last[0], batch=run.last[1])
        return self.outcome is not None

    def epoch_end(self, estimator, *args, **kwargs):
        """Whether it is over."""
        run = estimator.run
        if self.outcome is None and run.whole:
            self.outcome = self._agreed(self._found or self.judge.epoch_done(*run.last, values(estimator))
                                        or self._caught(run), run)
        return self.outcome is not None

    def _agreed(self, outcome, run):
        return outcome if self.workers is None else self.workers.agree(outcome, *run.last)

    def _caught(self, run):
        if self.signals.caught is None:
            return None
        return Outcome("signal", *run.last, signal=self.signals.caught)


class CheckpointHandler(stock.EpochBegin, stock.BatchEnd, stock.EpochEnd):
    """Write a checkpoint after each epoch, where the training is ended, and as often as the folder says.

    A checkpoint has the parameters of the network and of the losses, the trainer's states, what the metrics and the
    criteria have seen, and the place in the data. Inside an epoch it waits for the step of gathered batches.
    `Estimator.fit` makes one from its arguments.

    Args:
        folder: `mxloss.checkpoint.Folder`.
        stop: the `StopHandler` of the training.
        seed: what the training is seeded with.
        priority: handlers are called from the lowest to the highest; a checkpoint has to have what others change.
    """

    def __init__(self, folder, stop, seed=None, *, priority=1000):
        self.folder, self.stop, self.seed, self.priority = folder, stop, seed, priority
        self._due, self._inside, self._losses = False, None, ()

    def resume(self, estimator):
        """Put the last checkpoint into the estimator; without effect if there is none.

        Raises:
            ValueError: a checkpoint that is broken, of another network, or of a training with another seed.
        """
        place = next(reversed(self.folder.list()), None)
        place = place if self.stop.workers is None else self.stop.workers.common(place)
        checkpoint = None if place is None else self.folder.load(place)
        self.folder.rewind(place or (-1, 0))
        if checkpoint is None:
            return
        if checkpoint.state["seed"] != self.seed:
            _check.fail("fit", "seed", "that of the checkpoint, {}".format(checkpoint.state["seed"]), self.seed)
        state.restore(estimator, checkpoint)
        run = estimator.run
        run.epoch, run.batch = checkpoint.epoch, checkpoint.batch
        run.step, run.last = checkpoint.state["step"], checkpoint.state["last"]
        self.stop.outcome = self.stop.judge.restore(checkpoint.state["judge"])
        self._losses = checkpoint.state["losses"]
        if checkpoint.batch:
            self._inside = checkpoint.state

    def epoch_begin(self, estimator, *args, **kwargs):
        """Go on inside an epoch with what its metrics had seen: all handlers before this one have reset theirs."""
        if self._inside is None:
            return
        saved = self._inside["training"]
        known = {metric.name for metric in estimator.train_metrics}
        estimator.train_metrics.extend(metric for metric in loss_metrics("training", self._losses)
                                       if metric.name not in known)
        for metric, sums in zip(estimator.train_metrics, saved):
            restore_metric(metric, sums)
        self.stop.judge.restore(self._inside["judge"])
        self._inside = None

    def batch_end(self, estimator, *args, **kwargs):
        """Write a checkpoint if one is due."""
        self._losses = kwargs["loss"].names
        if self.folder.every and estimator.run.batch % self.folder.every == 0:
            self._due = True
        if self._due and not estimator.pending and not estimator.run.whole:
            self._save(estimator)
        return self.stop.outcome is not None

    def epoch_end(self, estimator, *args, **kwargs):
        """Write a checkpoint of the epoch, or of what there is of it."""
        self._save(estimator, values(estimator) if estimator.run.whole else None)
        return self.stop.outcome is not None

    def _save(self, estimator, reached=None):
        self._due = False
        params, kept, symbol = state.collect(estimator)
        run = estimator.run
        self.stop.outcome = self.stop.outcome or self.stop.judge.params_read(*run.last, params)
        kept.update(step=run.step, last=run.last, seed=self.seed, losses=self._losses, judge=self.stop.judge.state(),
                    training=[metric_state(metric) for metric in estimator.train_metrics])
        failed = self.stop.outcome is not None and self.stop.outcome.reason == "not_finite"
        self.folder.save(*run.place, params, kept, symbol=symbol, values=reached, failed=failed)
