"""Writes the page of results: experiments/claims/page_template.md with the numbers of --results.

  python -m experiments.page --page=docs/results.md

Trains nothing; seconds on any machine. The test suite fails where the committed page is not what
the committed results say.
"""

from absl import flags

from experiments.claims import page
from experiments.record import files, launch, results
from experiments.record.errors import UserError

flags.declare_key_flag("results")
flags.DEFINE_string("page", "runs/results.md", "Where to write the page.")


def main():
    folder, path = results.finished(), files.user_path(flags.FLAGS.page)
    if not path.name or (path.exists() and not path.is_file()):
        raise UserError(f"--page={path} is no name of a file.")
    text = page.text(folder)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        files.replace(path.resolve(), text)
    except OSError as error:
        raise UserError(f"--page={path} cannot be written: {error.strerror}.") from None
    print(f"written: {path}")


if __name__ == "__main__":
    launch.run(main)
