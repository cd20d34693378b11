"""Descent: the gradient steps of one arm, with its schedule and its weight averaging."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import keras
import numpy as np
import tensorflow as tf

from bonescan_utils.arms import Arm
from bonescan_utils.devices import memory_explained

HEAD_LAYERS = ("hidden", "evidence", "score")


def learning_rate(arm: Arm, step: int, *, steps_per_epoch: int) -> float:
    """Share (0-1) of the arm's peak step size at one step, counted from 0.

    ``cosine`` rises linearly over the first epoch and then falls to zero at the last step of the last epoch.
    """
    if arm.schedule == "constant":
        return 1.0
    if step < steps_per_epoch:
        return (step + 1) / steps_per_epoch
    rest = max(1, steps_per_epoch * (arm.epochs - 1))
    return 0.5 * (1.0 + math.cos(math.pi * min(1.0, (step - steps_per_epoch) / rest)))


class Descent:
    """AdamW on the binary cross-entropy of a model that gives logits.

    Made inside the scope of a `tf.distribute` strategy, it shares each batch out among the strategy's devices; the
    loss is the mean over the whole batch, so that the steps are those of one device.

    Attributes:
        rate: step size of the last step (of the layers after the cut).
    """

    def __init__(self, arm: Arm, model: keras.Model, *, steps_per_epoch: int) -> None:
        self.arm, self.model, self.steps_per_epoch = arm, model, steps_per_epoch
        self.rate, self._count = 0.0, 0
        head = {id(v) for name in HEAD_LAYERS for v in _layer_variables(model, name)}
        variables = model.trainable_variables
        self._groups = [
            ([v for v in variables if id(v) not in head], arm.learning_rate),
            ([v for v in variables if id(v) in head], arm.head_learning_rate or arm.learning_rate),
        ]
        self._optimizers = [_adamw(group, rate, arm.weight_decay) for group, rate in self._groups]
        one = tf.VariableAggregation.ONLY_FIRST_REPLICA  # every replica holds the same average
        self._averages = [tf.Variable(tf.identity(v.value), aggregation=one) for v in variables] if arm.ema else []
        self._strategy = tf.distribute.get_strategy()
        self._train = self._compile()

    def step(self, x: np.ndarray, y: np.ndarray) -> float:
        """One gradient step on features ``x`` with labels ``y`` (0/1); returns the loss before it."""
        share = learning_rate(self.arm, self._count, steps_per_epoch=self.steps_per_epoch)
        for optimizer, (_, rate) in zip(self._optimizers, self._groups, strict=True):
            optimizer.learning_rate = rate * share
        self.rate = self.arm.learning_rate * share
        # The first steps weigh less: an average that starts at the initial weights forgets them soon.
        momentum = min(self.arm.ema, (1 + self._count) / (10 + self._count))
        self._count += 1
        smooth = self.arm.label_smoothing
        target = np.asarray(y, np.float32) * (1 - smooth) + smooth / 2
        with memory_explained(f"training {self.arm.name}, {len(x)} scans at a time"):
            return self._run(np.asarray(x, np.float32), target, momentum)

    def _run(self, x: np.ndarray, target: np.ndarray, momentum: float) -> float:
        """One step on one device, or on several with a share of the batch each; the loss of the whole batch."""
        devices, rest = self._strategy.num_replicas_in_sync, (tf.constant(momentum),)
        weight = np.full(len(x), 1.0 / len(x), np.float32)
        if devices == 1:
            return float(self._train(tf.constant(x), tf.constant(target), tf.constant(weight), *rest))
        short = max(0, devices - len(x))  # no device goes without: scans that weigh nothing fill a small batch up
        at, weight = np.arange(len(x) + short) % len(x), np.append(weight, np.zeros(short, np.float32))
        shares = [np.array_split(values, devices) for values in (x[at], target[at], weight)]
        deal = self._strategy.experimental_distribute_values_from_function
        dealt = [deal(lambda c, parts=parts: tf.constant(parts[c.replica_id_in_sync_group])) for parts in shares]
        return float(self._strategy.reduce(tf.distribute.ReduceOp.SUM, self._train(*dealt, *rest), axis=None))

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """The model has its averaged weights inside the block (its own, where the arm averages none)."""
        own = [tf.identity(v.value) for v in self.model.trainable_variables] if self._averages else []
        for variable, average in zip(self.model.trainable_variables, self._averages, strict=False):
            variable.assign(average)
        try:
            yield
        finally:
            for variable, value in zip(self.model.trainable_variables, own, strict=False):
                variable.assign(value)

    def state(self) -> dict[str, np.ndarray]:
        """All that the next step depends on, by name: weights, dropout's seeds, moments, averages, the count."""
        found = {f"state_{at:05d}": np.asarray(v) for at, v in enumerate(self._variables())}
        return found | {"count": np.array(self._count)}

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        """Set everything as `state` gave it, of a descent of the same arm."""
        for at, variable in enumerate(self._variables()):
            variable.assign(state[f"state_{at:05d}"])
        self._count = int(state["count"])

    def _variables(self) -> list:
        moments = [v for optimizer in self._optimizers for v in optimizer.variables]
        return [*self.model.variables, *moments, *self._averages]

    def _compile(self):  # type: ignore[no-untyped-def]  # a tf.function
        model, several = self.model, self._strategy.num_replicas_in_sync > 1
        per_scan, number = tf.TensorSpec([None], tf.float32), tf.TensorSpec([], tf.float32)
        signature = [tf.TensorSpec(model.inputs[0].shape, tf.float32), per_scan, per_scan, number]

        def train(x: tf.Tensor, target: tf.Tensor, weight: tf.Tensor, momentum: tf.Tensor) -> tf.Tensor:
            variables = model.trainable_variables
            with tf.GradientTape() as tape:
                logits = model(tf.cast(x, model.inputs[0].dtype), training=True)[:, 0]
                loss = tf.reduce_sum(weight * tf.nn.sigmoid_cross_entropy_with_logits(target, logits))
            found = tape.gradient(loss, variables)
            if several:
                found = tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, found)
            gradients = dict(zip(map(id, variables), found, strict=True))
            for optimizer, (group, _) in zip(self._optimizers, self._groups, strict=True):
                optimizer.apply([gradients[id(v)] for v in group], group)
            for average, variable in zip(self._averages, variables, strict=False):
                average.assign(momentum * average + (1.0 - momentum) * variable)
            return loss

        if not several:
            return tf.function(train, input_signature=signature)
        strategy = self._strategy
        return tf.function(lambda *shares: strategy.run(train, shares), reduce_retracing=True)


def _layer_variables(model: keras.Model, name: str) -> list[keras.Variable]:
    return next((layer.trainable_variables for layer in model.layers if layer.name == name), [])


def _adamw(variables: list[keras.Variable], rate: float, decay: float) -> keras.optimizers.Optimizer:
    optimizer = keras.optimizers.AdamW(rate, weight_decay=decay)
    optimizer.exclude_from_weight_decay(var_list=[v for v in variables if len(v.shape) < 2])
    optimizer.build(variables)
    return optimizer
