"""A whole training run, from its config to its last checkpoint."""

import dataclasses
import functools
import json
import pathlib
from typing import Any

import jax
import optax

from drivenmorph_jax.data.config import DataConfig
from drivenmorph_jax.data.dataset import EvaluationData, TrainingData, load_training
from drivenmorph_jax.data.loader import LabelMode, PairLoader
from drivenmorph_jax.data.synthesis import intensity_classes, synthesise_pair
from drivenmorph_jax.errors import InputError
from drivenmorph_jax.model.config import ModelConfig
from drivenmorph_jax.objective.loss import LossConfig
from drivenmorph_jax.objective.regularity import LEAST_VOXELS
from drivenmorph_jax.training.checkpoint import Checkpoints
from drivenmorph_jax.training.logging import MetricLog, Reporter, make_reporter
from drivenmorph_jax.training.loop import Evaluate, Outcome, train_loop
from drivenmorph_jax.training.mesh import reading_share
from drivenmorph_jax.training.monitor import make_monitor, results_of
from drivenmorph_jax.training.network import Network, drivenmorph
from drivenmorph_jax.training.optimiser import make_optimiser
from drivenmorph_jax.training.pair_loss import Synthesise, make_pair_loss
from drivenmorph_jax.training.parallel import Backend, make_backend
from drivenmorph_jax.training.processes import is_lead
from drivenmorph_jax.training.profile import StepProfile, choose_steps
from drivenmorph_jax.training.run_folder import check_run_folder, describe_run
from drivenmorph_jax.training.settings import TrainingConfig
from drivenmorph_jax.training.state import TrainState, create_state
from drivenmorph_jax.training.throughput import Throughput


@dataclasses.dataclass(frozen=True)
class Config:
    """All that defines a run, one section for each part."""

    data: DataConfig = dataclasses.field(default_factory=DataConfig)
    model: ModelConfig = dataclasses.field(default_factory=ModelConfig)
    loss: LossConfig = dataclasses.field(default_factory=LossConfig)
    training: TrainingConfig = dataclasses.field(default_factory=TrainingConfig)

    def __post_init__(self) -> None:
        if self.data.label_maps:
            _require_synthesis("data.label_maps", self.training)
        if self.loss.force_weight:
            _require_room(self.data.shape, self.model, self.loss)


def train(
    config: Config,
    run_dir: str | pathlib.Path,
    *,
    resume: bool = False,
    network: Network | None = None,
    profile: str | None = None,
) -> Outcome:
    """Train as the config says, in a run folder, from the start or from its last checkpoint.

    With `resume` a folder without checkpoints starts from the beginning, so that a job script can
    always pass it. `profile` is "FIRST:LAST", steps to trace into the run folder, or "" for a few
    early ones. With `network` that one is trained, and `config.model` is not used.

    Raises:
        InputError: the config, the data, the folder or the steps to trace cannot be used.
        TrainingError: a loss or gradient is not finite.
    """
    cfg = config.training
    folder = check_run_folder(pathlib.Path(run_dir), resume=resume)
    if network is None:
        network = drivenmorph(config.model, remat=cfg.remat, weights=cfg.initial_weights)
    document = as_document(config) | {"model": network.description}

    # Data: pairs to train on, and pairs held out to evaluate on the way.
    training, held_out = load_training(config.data, progress=_say)
    if training.without_images:
        _require_synthesis(f"label maps of {config.data.prepared or 'the data'}", cfg)

    # Model, and the step on the devices there are.
    params_key, step_key = jax.random.split(jax.random.key(cfg.seed))
    params = network.init(params_key)
    optimiser = make_optimiser(cfg.optimiser, cfg.steps)
    backend = _make_backend(network, optimiser, training, config)
    state = backend.place_state(create_state(step_key, params, optimiser))
    evaluate = _make_evaluation(network, held_out, backend, cfg) if held_out.pairs else None

    batches = open_batches(training, config)
    # Data and devices are usable: now the folder is made.
    checkpoints = Checkpoints(folder / "checkpoints", keep=cfg.keep)

    # Resume: first the state, then the place in the data, then the logs from there on.
    seconds = 0.0
    if resume:
        state, seconds = _resume(state, batches, checkpoints, document)
    step = int(state.step)
    metric_log, traced = None, None
    if is_lead():
        if profile is not None:
            traced = StepProfile(folder, *choose_steps(profile, step, cfg.steps))
        describe_run(folder, document, first_step=step)
        metric_log = MetricLog(folder, first_step=step, tensorboard=cfg.tensorboard)
    reporter = make_reporter(cfg.steps, step)
    _introduce(reporter, folder, params, backend.name, backend.devices, step, cfg)

    try:
        return train_loop(
            state,
            backend=backend,
            batches=batches,
            checkpoints=checkpoints,
            cfg=cfg,
            config_document=document,
            metric_log=metric_log,
            reporter=reporter,
            evaluate=evaluate,
            skipped=lambda: [*training.skipped, *batches.skipped()],
            throughput=Throughput(
                backend.step,
                pairs=cfg.batch,
                devices=backend.devices,
                local=jax.local_devices()[: backend.devices],
                precision=config.model.precision,
            ),
            profile=traced,
            seconds_before=seconds,
        )
    finally:
        reporter.close()
        if traced is not None:
            traced.close()
        if metric_log is not None:
            metric_log.close()
        batches.close()
        checkpoints.close()


def _require_synthesis(title: str, cfg: TrainingConfig) -> None:
    if not cfg.synthesis.enabled:
        raise InputError(f"{title}: they have no images: set training.synthesis.enabled to true")


def _require_room(shape: tuple[int, ...], model: ModelConfig, loss: LossConfig) -> None:
    """Each level whose force is supervised must have the voxels that its regularity takes."""
    level = max(level for level, count in enumerate(model.iterations) if count)
    coarsest = [-(-size // 2**level) for size in shape]
    least = LEAST_VOXELS[loss.regularity]
    if min(coarsest) < least:
        raise InputError(
            f"data.shape {list(shape)} has {coarsest} voxels at level {level}, the coarsest with "
            f"a force, and its supervision (loss.force_weight) needs {least} an axis: use a larger "
            "shape, or a model of fewer levels"
        )


def _make_backend(
    network: Network,
    optimiser: optax.GradientTransformation,
    training: TrainingData,
    config: Config,
) -> Backend:
    """The step: the loss of the network on pairs of this data, its gradient and the optimiser."""
    cfg = config.training
    loss_fn = make_pair_loss(
        network.apply,
        config.loss,
        cfg.augment,
        label_values=label_values(training, config),
        synthesise=make_synthesis(training, config),
    )
    return make_backend(
        cfg.backend,
        loss_fn,
        optimiser,
        batch=cfg.batch,
        ema_decay=cfg.optimiser.ema_decay,
        accumulate=cfg.accumulate,
        space=cfg.space,
        shard_state=cfg.shard_state,
    )


def _make_evaluation(
    network: Network, held_out: EvaluationData, backend: Backend, cfg: TrainingConfig
) -> Evaluate:
    """Of parameters that may be split over devices, on the pairs held out.

    Every process evaluates all pairs: as fast as one, and all know which checkpoint is best.
    """
    if cfg.evaluate_every:
        # Now, and not after hours.
        cfg.check_best_metric(results_of(held_out))
    monitor = make_monitor(
        network.apply,
        held_out,
        jax.local_devices()[: backend.devices],
        mesh=backend.mesh,
        pictures=cfg.tensorboard and is_lead(),
    )
    return lambda params: monitor(backend.gather(params))


def open_batches(training: TrainingData, config: Config) -> PairLoader:
    """Endless batches of random pairs, of each the part that this process feeds to its devices.

    With labels numbered 1, 2, … where the loss needs them, and as they are where images are made
    from them: the table need not have all that a brain has.
    """
    share = reading_share(config.training.space)
    return PairLoader(
        training.subjects,
        batch_size=config.training.batch,
        seed=config.training.seed,
        pairs=training.pairs,
        flip=config.data.flip,
        labels=_label_mode(config),
        label_table=training.label_table,
        threads=config.data.threads,
        read_ahead=config.data.read_ahead,
        # In any process: each reads its own share.
        skip=functools.partial(print, flush=True) if config.data.on_bad_image == "skip" else None,
        shard_index=share.index,
        shard_count=share.count,
    )


def label_values(training: TrainingData, config: Config) -> tuple[int, ...]:
    """The numbers that the table's labels have in a batch."""
    if training.label_table is None:
        return ()
    if _label_mode(config) == "raw":
        return training.label_table.values
    return tuple(range(1, len(training.label_table) + 1))


def make_synthesis(training: TrainingData, config: Config) -> Synthesise | None:
    """What makes the images of an example, where the config asks for it."""
    cfg = config.training.synthesis
    if not cfg.enabled:
        return None
    classes = intensity_classes(training.label_table)
    return lambda key, example: synthesise_pair(key, example, cfg, classes)


def _label_mode(config: Config) -> LabelMode:
    if config.training.synthesis.enabled:
        return "raw"
    return "consecutive" if config.loss.dice_weight else "none"


def as_document(config: Any) -> dict[str, Any]:
    """A config as plain values that JSON and YAML can hold."""
    return json.loads(json.dumps(dataclasses.asdict(config)))


def _say(text: str) -> None:
    if is_lead():
        print(text, flush=True)


def _check_same_model(document: dict[str, Any], checkpoints: Checkpoints) -> None:
    saved = checkpoints.read_config()
    if saved is None:
        return
    for key, value in document["model"].items():
        before = saved.get("model", {}).get(key)
        if value != before:
            raise InputError(
                f"cannot resume {checkpoints.folder.parent}: model.{key} is {value}, the "
                f"checkpoint has {before}; train another model in another --run-dir"
            )


def _resume(
    state: TrainState, batches: PairLoader, checkpoints: Checkpoints, document: dict[str, Any]
) -> tuple[TrainState, float]:
    """The last good state and the seconds that it took, with `batches` set to its place.

    The given state where nothing was saved.

    Raises:
        InputError: the checkpoint is of another model.
    """
    _check_same_model(document, checkpoints)
    if checkpoints.latest_step() is None:
        return state, 0.0
    restored = checkpoints.restore(state, say=_say)
    batches.set_state(restored.progress["loader"])
    return restored.state, restored.progress["seconds"]


def _introduce(
    reporter: Reporter,
    folder: pathlib.Path,
    params: Any,
    backend: str,
    devices: int,
    step: int,
    cfg: TrainingConfig,
) -> None:
    count = sum(leaf.size for leaf in jax.tree.leaves(params))
    platform = jax.local_devices()[0].platform
    where = f"{backend} on {devices} {platform} device(s)"
    if jax.process_count() > 1:
        where += f" of {jax.process_count()} processes"
    reporter.note(f"run folder {folder}")
    reporter.note(f"{count:,} parameters; {where}")
    verb = f"resuming after step {step}" if step else "starting"
    reporter.note(f"{verb}: {cfg.steps} steps of {cfg.batch} pair(s)")
