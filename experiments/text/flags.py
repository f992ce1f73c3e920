"""Flags of the text that a command reads."""

from fractions import Fraction

from absl import flags

from experiments.record.errors import UserError
from experiments.record.files import user_path
from experiments.text import byte_pairs, data, tokenizer

flags.DEFINE_enum(
    "corpus", "auto", data.CORPORA, "Text: ptb, embedded, or ptb where found and else embedded."
)
flags.DEFINE_string(
    "data_dir",
    None,
    "Folder of the text: train.txt, valid.txt and test.txt, or ptb.train.txt and its siblings; "
    "default the user's cache folder.",
)
flags.DEFINE_string("text", None, "One file of text, of any size, that --split cuts in three.")
flags.DEFINE_string(
    "split",
    "90,5,5",
    "Percent of --text for training, validation and test, in the order of the file and cut at line "
    "ends.",
)
flags.DEFINE_enum(
    "tokens",
    "word",
    sorted(tokenizer.CLASSES),
    "Tokens: word, between white space, with <eos> for a line end; char, every character; or bpe, "
    f"byte-level byte pairs, learnt from {byte_pairs.TRAINED_ON >> 20} MiB that are drawn evenly "
    "from the training text, or from all of it where it is shorter.",
)
flags.DEFINE_integer(
    "vocab_size",
    None,
    "Upper bound of the vocabulary; words or characters beyond it, the rarest, become <unk>. "
    f"Default {byte_pairs.DEFAULT_SIZE:,} for bpe, else none.",
    lower_bound=1,
)
flags.DEFINE_integer(
    "min_count",
    1,
    "Words or characters that are rarer in the training text become <unk>.",
    lower_bound=1,
)


def corpus_from_flags() -> data.Corpus:
    """The text that the flags name.

    Raises:
      UserError: flags contradict each other, or the text cannot be read.
    """
    values = flags.FLAGS
    kind = tokenizer.settings(values.tokens, values.vocab_size, values.min_count)
    if values.text is None:
        if values["split"].present:
            raise UserError("--split cuts the file of --text; the other texts come in three parts.")
        return data.read_corpus(values.corpus, values.data_dir, kind)
    for name, contradicts in (
        ("data_dir", values.data_dir is not None),
        ("corpus", values.corpus != "auto"),
    ):
        if contradicts:
            raise UserError(f"--text does not go with --{name}={values[name].value}; drop one.")
    return data.read_text(user_path(values.text), percent(values.split), kind)


def percent(split: str) -> list[Fraction]:
    """The three shares of --split.

    Raises:
      UserError: they are not three numbers above 0 that sum to 100.
    """
    try:
        shares = [Fraction(share) for share in split.split(",") if "e" not in share.lower()]
    except (ValueError, ZeroDivisionError):
        shares = []
    if len(shares) != 3 or min(shares) <= 0 or sum(shares) != 100:
        raise UserError(
            f"--split={split} must be three numbers above 0 that sum to 100, as in 90,5,5."
        )
    return shares
