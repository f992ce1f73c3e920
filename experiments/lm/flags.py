"""Flags shared by the commands that train the language model."""

from absl import flags

from experiments.lm import data, models, settings, styles
from experiments.record.errors import UserError

SCHEDULE_FLAGS = ("bptt", "stride", "seq_len")

flags.DEFINE_enum("style", "true", styles.STYLES, "Style of truncation.")
flags.DEFINE_integer(
    "bptt", None, "Horizon: how many steps back an error reaches, its own included.", lower_bound=1
)
flags.DEFINE_integer(
    "stride", None, "Losses that share one backward pass, semi-epochwise.", lower_bound=1
)
flags.DEFINE_integer("seq_len", None, "Steps of one update.", lower_bound=1)
flags.DEFINE_float("learning_rate", 0.001, "Adam's learning rate.", lower_bound=0.0)
flags.DEFINE_integer("num_epochs", 20, "Passes over the training text.", lower_bound=1)
flags.DEFINE_integer("batch_size", 32, "Streams the text is cut into.", lower_bound=1)
flags.DEFINE_integer("state_size", 100, "Size of the recurrent state.", lower_bound=1)
flags.DEFINE_integer("embed_size", 50, "Size of the word embedding.", lower_bound=1)
flags.DEFINE_float(
    "keep_prob",
    0.8,
    "Probability that dropout keeps an embedding's or output's entry.",
    lower_bound=0.0,
    upper_bound=1.0,
)
flags.DEFINE_enum("cell", "vanilla", sorted(models.CELLS), "Recurrent cell.")
flags.DEFINE_enum(
    "carry",
    "clean",
    settings.CARRIES,
    "State that a training sequence hands on: clean, or dropped out as in the article.",
)
flags.DEFINE_enum(
    "seams",
    "cut",
    settings.SEAMS,
    "Between two sequences: cut, as in the article, or exact, where errors reach their whole "
    "horizon into the sequences before (--seq_len may then be shorter than --bptt).",
)
flags.DEFINE_enum(
    "backward",
    "sweeps",
    settings.BACKWARDS,
    "How gradients are computed: sweeps (truncated_scan), or windows (the definition, slow).",
)
flags.DEFINE_integer(
    "seed", 0, "Seed of the parameters and of dropout.", lower_bound=0, upper_bound=2**31 - 1
)
flags.DEFINE_enum(
    "corpus", "auto", data.CORPORA, "Text: ptb, embedded, or ptb where found and else embedded."
)
flags.DEFINE_string("data_dir", None, "Folder of the text; default the user's cache folder.")
flags.register_validator("keep_prob", lambda p: p > 0.0, "must be above 0")
flags.register_validator("learning_rate", lambda rate: rate > 0.0, "must be above 0")


def corpus_from_flags() -> data.Corpus:
    """The text that the flags name."""
    return data.read_corpus(flags.FLAGS.corpus, flags.FLAGS.data_dir)


def settings_from_flags() -> settings.Settings:
    """The training settings that the flags ask for.

    Raises:
      UserError: flags contradict each other.
    """
    values = flags.FLAGS
    schedule = styles.schedule(
        values.style, values.bptt, values.stride, values.seq_len, values.seams
    )
    for name, other in (("carry", "dropped"), ("backward", "windows")):
        if values.seams == "exact" and values[name].value == other:
            raise UserError(f"--seams=exact does not go with --{name}={other}.")
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
    )
