"""Flags shared by the commands that train the language model."""

from pathlib import Path
from typing import Any

from absl import flags

from experiments.lm import models, optimizers, settings, styles
from experiments.record.errors import UserError
from experiments.record.files import user_path
from experiments.text import data
from experiments.text import flags as of_text

DEFAULT_BIAS = 0.1
DEFAULT: dict[str, Any] = settings.Settings._field_defaults | models.ARTICLE_SIZES
SCHEDULE_FLAGS = ("bptt", "stride", "seq_len")

flags.adopt_module_key_flags(of_text)
flags.DEFINE_enum("style", "true", styles.STYLES, "Style of truncation.")


class HorizonParser(flags.ArgumentParser):
    """A number from 1, or `auto`."""

    numbers = flags.IntegerParser(lower_bound=1)
    syntactic_help = f"{numbers.syntactic_help} or {styles.AUTO}"

    def parse(self, argument):
        return argument if argument == styles.AUTO else self.numbers.parse(argument)


flags.DEFINE(
    HorizonParser(),
    "bptt",
    None,
    "Horizon: how many steps back an error reaches, its own included; or auto, chosen before each "
    "epoch among --seq_len and its halves.",
)
flags.DEFINE_float(
    "bias",
    None,
    "Largest relative bias of the gradients for --bptt=auto, by its bound; default "
    f"{DEFAULT_BIAS:g}.",
    lower_bound=0.0,
)
flags.DEFINE_float(
    "tol",
    0.0,
    "Sweeps end before the horizon once the norm of the errors still being backpropagated is below "
    "this fraction of that of their sum so far; 0 for all sweeps.",
    lower_bound=0.0,
)
flags.DEFINE_integer(
    "stride", None, "Losses that share one backward pass, semi-epochwise.", lower_bound=1
)
flags.DEFINE_integer("seq_len", None, "Steps of one update.", lower_bound=1)
flags.DEFINE_enum(
    "optimizer",
    DEFAULT["optimizer"],
    sorted(optimizers.OPTIMIZERS),
    "Optimizer, with optax's defaults.",
)
flags.DEFINE_float(
    "learning_rate",
    DEFAULT["learning_rate"],
    "Learning rate, the highest of its schedule.",
    lower_bound=0.0,
)
flags.DEFINE_enum(
    "lr_schedule",
    DEFAULT["lr_schedule"],
    optimizers.SCHEDULES,
    "Learning rate over the updates of the whole run: constant; halved after each epoch from the "
    "fourth on; or one that ends at 0.",
)
flags.DEFINE_integer(
    "warmup_updates",
    None,
    "Updates in which the rate of warmup_cosine rises; default a tenth of the run's.",
    lower_bound=1,
)
flags.DEFINE_float(
    "clip_norm", None, "Largest L2 norm of the whole gradient; default no limit.", lower_bound=0.0
)
flags.DEFINE_float(
    "weight_decay",
    None,
    "Weight decay of adamw and lion, on all parameters; default that of optax.",
    lower_bound=0.0,
)
flags.DEFINE_float(
    "epsilon",
    None,
    "What adam, adamw and rmsprop add to a gradient's root mean square; default that of optax.",
    lower_bound=0.0,
)
flags.DEFINE_integer(
    "num_epochs", DEFAULT["num_epochs"], "Passes over the training text.", lower_bound=1
)
flags.DEFINE_integer(
    "patience",
    None,
    "Epochs without a better validation loss that end the run; default all epochs are run.",
    lower_bound=1,
)
flags.DEFINE_integer(
    "batch_size", DEFAULT["batch_size"], "Streams the text is cut into.", lower_bound=1
)
flags.DEFINE_integer(
    "state_size", DEFAULT["state_size"], "Size of the recurrent state.", lower_bound=1
)
flags.DEFINE_integer(
    "embed_size", DEFAULT["embed_size"], "Size of the token embedding.", lower_bound=1
)
flags.DEFINE_float(
    "keep_prob",
    DEFAULT["keep_prob"],
    "Probability that dropout keeps an entry of an embedding or of a layer's output.",
    lower_bound=0.0,
    upper_bound=1.0,
)
flags.DEFINE_enum("cell", "vanilla", sorted(models.CELLS), "Recurrent cell.")
flags.DEFINE_integer("layers", 1, "Recurrent cells, one above the other.", lower_bound=1)
flags.DEFINE_enum(
    "precision",
    "float32",
    sorted(models.PRECISIONS),
    "Of the step and the readout; parameters, losses and optimizer are float32.",
)
flags.DEFINE_enum(
    "carry",
    DEFAULT["carry"],
    settings.CARRIES,
    "State that a training sequence hands on: clean, or dropped out as in the article.",
)
flags.DEFINE_enum(
    "seams",
    DEFAULT["seams"],
    settings.SEAMS,
    "Between two sequences: cut, as in the article, or exact, where errors reach their whole "
    "horizon into the sequences before (--seq_len may then be shorter than --bptt).",
)
flags.DEFINE_enum(
    "on_nonfinite",
    "stop",
    settings.ON_NONFINITE,
    "What follows an update whose loss or gradient is not finite: stop, with the state before it "
    "kept; or skip, which leaves it out, counts it and goes on.",
)
flags.DEFINE_enum(
    "evaluate",
    "sequences",
    settings.EVALUATED,
    "What validation and test losses are of: the tokens that fill whole sequences, as in the "
    "article, or all, so that losses of runs with other sequence lengths are of the same tokens.",
)
flags.DEFINE_enum(
    "backward",
    DEFAULT["backward"],
    settings.BACKWARDS,
    "How gradients are computed: sweeps (truncated_scan), or windows (the definition, slow).",
)
flags.DEFINE_integer(
    "seed",
    DEFAULT["seed"],
    "Seed of the parameters and of dropout, or of what is drawn from a trained model.",
    lower_bound=0,
    upper_bound=2**31 - 1,
)
flags.DEFINE_string(
    "workdir",
    None,
    "Folder of a run. Training goes on there if it was stopped, by default in a new one in runs/.",
)
flags.register_validator("keep_prob", lambda p: p > 0.0, "must be above 0")
flags.register_validator("learning_rate", lambda rate: rate > 0.0, "must be above 0")
flags.register_validator("bias", lambda bias: bias != 0.0, "must be above 0")
flags.register_validator("tol", lambda tol: tol < 1.0, "must be below 1")
flags.register_validator("epsilon", lambda epsilon: epsilon != 0.0, "must be above 0")
flags.register_validator("clip_norm", lambda norm: norm != 0.0, "must be above 0")


def workdir_from_flags() -> Path | None:
    """The folder of a run, if one is named."""
    workdir = flags.FLAGS.workdir
    return None if workdir is None else user_path(workdir)


def changed(*named: str) -> list[str]:
    """The flags of this module that are not at their defaults, the article's, as they are typed.

    Those of the schedule, and those that are `named`, are left out.
    """
    left_out = {"style", "bias", *SCHEDULE_FLAGS, "workdir", *named}
    own = flags.FLAGS.flags_by_module_dict()[__name__]
    return [
        f"--{flag.name}={flag.value}"
        for flag in own
        if flag.name not in left_out and flag.value != flag.default
    ]


def model_from_flags(corpus: data.Corpus) -> models.LanguageModel:
    """The model of a text's words that the flags ask for."""
    values = flags.FLAGS
    return models.LanguageModel(
        len(corpus.vocabulary),
        values.embed_size,
        values.state_size,
        values.cell,
        values.layers,
        values.precision,
    )


def settings_from_flags() -> settings.Settings:
    """The training settings that the flags ask for.

    Raises:
      UserError: flags contradict each other.
    """
    values = flags.FLAGS
    others = values.stride, values.seq_len, values.seams
    if values.bptt == styles.AUTO:
        schedule, bias = styles.auto_schedule(values.style, *others), values.bias or DEFAULT_BIAS
    else:
        schedule, bias = styles.schedule(values.style, values.bptt, *others), None
        if values.bias is not None:
            raise UserError(f"--bias={values.bias:g} goes with --bptt={styles.AUTO}.")
    for name, other in (("carry", "dropped"), ("backward", "windows")):
        if values.seams == "exact" and values[name].value == other:
            raise UserError(f"--seams=exact does not go with --{name}={other}.")
    for name, other in (("style", "true"), ("seams", "cut"), ("backward", "sweeps")):
        if values.tol and values[name].value != other:
            raise UserError(f"--tol={values.tol:g} goes with --{name}={other}.")
    return settings.Settings(
        schedule=schedule,
        learning_rate=values.learning_rate,
        num_epochs=values.num_epochs,
        batch_size=values.batch_size,
        keep_prob=values.keep_prob,
        carry=values.carry,
        seams=values.seams,
        backward=values.backward,
        seed=values.seed,
        optimizer=values.optimizer,
        lr_schedule=values.lr_schedule,
        warmup_updates=values.warmup_updates,
        epsilon=values.epsilon,
        clip_norm=values.clip_norm,
        weight_decay=values.weight_decay,
        evaluate=None if values.evaluate == "sequences" else values.evaluate,
        on_nonfinite=None if values.on_nonfinite == "stop" else values.on_nonfinite,
        patience=values.patience,
        bias=bias,
        tol=values.tol or None,
    )
