"""The flag of the studies that are run on several seeds."""

from absl import flags

flags.DEFINE_integer("num_seeds", 1, "Seeds of the study.", lower_bound=1)
