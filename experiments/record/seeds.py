"""The flag of the studies that are run on several seeds."""

from absl import flags

flags.DEFINE_integer("num_seeds", None, "Seeds; the default is the study's own.", lower_bound=1)
