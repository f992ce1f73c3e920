"""Writes text with the parameters that a run of experiments.ptb has learnt.

  python -m experiments.sample --workdir=RUN --length=200 --prompt="the company said"

draws --length tokens after the prompt from the parameters with the best validation loss, and prints
both. The run is finished or was stopped. At temperature 1 tokens are drawn as likely as the model
takes them to be, below 1 likely ones more often, at 0 always the likeliest. A few seconds.
"""

import sys

import jax
import numpy as np
from absl import flags

from experiments.lm import flags as common
from experiments.lm import run, sampling
from experiments.record import launch
from experiments.record.errors import UserError

flags.DEFINE_integer("length", 200, "Tokens to draw.", lower_bound=1)
flags.DEFINE_float("temperature", 1.0, "What logits are divided by.", lower_bound=0.0)
flags.DEFINE_string("prompt", None, "What the text begins with; default a line end.")
for _name in ("workdir", "seed"):
    flags.declare_key_flag(_name)


def text(trained: run.Trained, prompt: str, length: int, temperature: float, seed: int) -> str:
    """The prompt and what follows; notes on stderr how much of the prompt is unknown.

    Raises:
      UserError: the prompt is not text, or holds no token.
    """
    if any("\ud800" <= char <= "\udfff" for char in prompt):  # undecodable bytes
        raise UserError("--prompt is not UTF-8 text.")
    arrays, unknown = zip(*trained.tokenizer.encode([prompt]), strict=True)
    tokens = np.concatenate(arrays).astype(np.int32)
    if not tokens.size:
        raise UserError(f"--prompt={prompt!r} holds no token; leave it out to begin a new line.")
    if sum(unknown):
        noun = trained.tokenizer.noun
        print(f"note: {noun} of the prompt that became <unk>: {sum(unknown)}", file=sys.stderr)
    key = jax.random.key(seed)
    drawn = sampling.sample(trained.model, trained.params, tokens, length, temperature, key)
    return trained.tokenizer.decode([*tokens.tolist(), *drawn.tolist()])


def main():
    values = flags.FLAGS
    workdir = common.workdir_from_flags()
    if workdir is None:
        raise UserError("--workdir=RUN must name the folder of a run of experiments.ptb.")
    trained = run.load(workdir)
    prompt = "\n" if values.prompt is None else values.prompt
    said = text(trained, prompt, values.length, values.temperature, values.seed).lstrip("\n")
    shown = sys.stdout.encoding  # which a terminal may not have for every character
    print(said.encode(shown, "backslashreplace").decode(shown))


if __name__ == "__main__":
    launch.run(main)
