"""The layers of docs/architecture.md, checked: who may include or import whom.

Each rule is a function from a source tree to complaints; the tests run them on the repository, where there must be
none, and on small wrong trees, where there must be exactly the one expected.
"""

from __future__ import annotations

import ast
import dataclasses
import pathlib
import re
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent

# Layers of equal rank do not see each other; a layer sees itself and every lower rank.
RANKS = {
    "core": 0,
    "memory": 1,
    "device": 2,
    "kernels": 2,
    "tensor": 3,
    "opdef": 4,
    "autograd": 5,
    # The IR keeps the source places that the tape records; the tape knows nothing of graphs.
    "graph": 6,
    "dispatch": 7,
    "ops": 8,
    "bindings": 9,
}
# A kernel never throws, reads the environment or starts threads.
CORE_CLOSED_TO_KERNELS = {"check", "env", "parallel", "cgroup", "build_info"}
CUDA_LAUNCH = {"device/cuda/launch.cuh"}
PYTHON_HEADER = re.compile(r"^(Python\.h|pybind11/.*)$")
CUDA_HEADER = re.compile(
    r"^(cuda|cublas|cudnn|curand|cusparse|cusolver|nvrtc|nvtx|mma\.h|cooperative_groups|cub/|thrust/|cute/)"
)
ENVIRONMENT_CALL = re.compile(r"\b(?:secure_)?getenv\s*\(|\benviron\b")
INSTRUCTION_SET_NAME = re.compile(
    r"\bisa_(?:base|avx2|avx512|avx512_vnni|avx512_bf16|amx)\b|\bGORGO_(?:HAVE|ISA)_(?:BASE|AVX2|AVX512|AVX512_VNNI|AVX512_BF16|AMX)\b|\b_mm\d*_\w+|\bimmintrin\b"
)
# It tells people what the build holds, and only that.
MAY_NAME_INSTRUCTION_SETS = ("kernels/", "device/cpu/", "core/build_info.cpp")

# Python: parts that stand on the public interface, and what may be imported before it is needed.
PUBLIC_ONLY = ("nn", "optim", "onnx", "data", "io")
UPPER_PARTS = ("nn", "optim", "onnx")
IMPORTED_AT_ONCE = {"__future__", "gorgo"}


@dataclasses.dataclass(frozen=True)
class Include:
    """One include line: which file, which line, what, and whether in quotes."""

    file: str
    line: int
    target: str
    quoted: bool


def code_of(text: str, *, keep_strings: bool = False) -> str:
    """Return C++ source without comments (and strings), its lines kept in place."""

    def blank(match: re.Match[str]) -> str:
        token = match.group()
        if keep_strings and token[0] == '"':
            return token
        return re.sub(r"[^\n]", " ", token)

    return re.sub(r'//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"', blank, text, flags=re.DOTALL)


def read_sources(csrc: pathlib.Path) -> dict[str, str]:
    """Return the C++ and CUDA sources below a folder by their path in it."""
    return {
        path.relative_to(csrc).as_posix(): path.read_text()
        for path in sorted(csrc.rglob("*"))
        if path.suffix in {".h", ".cpp", ".cu", ".cuh"}
    }


def includes_of(sources: dict[str, str]) -> list[Include]:
    """Return every include line of the sources."""
    pattern = re.compile(r'^\s*#\s*include\s*(?:"([^"]+)"|<([^>]+)>)')
    found = []
    for file, text in sources.items():
        for number, line in enumerate(code_of(text, keep_strings=True).split("\n"), 1):
            match = pattern.match(line)
            if match:
                found.append(Include(file, number, match[1] or match[2], match[1] is not None))
    return found


def is_kernel_file(file: str) -> bool:
    """Tell whether a file is compiled for a device's instruction set."""
    return file.startswith("kernels/") or re.match(r"ops/\w+/kernels_(cpu|cuda)\w*\.(cpp|cu)$", file) is not None


def family_header(folder: str) -> str:
    """Return the header by which other families know the family in a folder."""
    return f"{folder}/{folder.rsplit('/', maxsplit=1)[-1]}.h"


def complain(include: Include, reason: str) -> str:
    """Return one complaint, placed."""
    return f"{include.file}:{include.line}: {include.target}: {reason}"


def wrong_layers(sources: dict[str, str]) -> list[str]:
    """Find includes that run against the layers, leave csrc, or form a cycle."""
    complaints = []
    graph: dict[str, list[str]] = {file: [] for file in sources}
    for include in includes_of(sources):
        if not include.quoted:
            continue
        if include.target not in sources:
            complaints.append(complain(include, "not a file of csrc (paths start there)"))
            continue
        graph[include.file].append(include.target)
        layer, target = include.file.split("/")[0], include.target.split("/")[0]
        # How kernels are launched is the device's affair, which those for CUDA see, below an equal rank.
        is_launch = layer == "kernels" and include.file.endswith((".cu", ".cuh")) and include.target in CUDA_LAUNCH
        if layer not in RANKS or target not in RANKS:
            complaints.append(complain(include, "in a folder that is no layer"))
        elif layer != target and not is_launch and RANKS[target] >= RANKS[layer]:
            complaints.append(complain(include, f"{layer} must not know {target}"))
        folder, target_folder = (str(pathlib.PurePosixPath(path).parent) for path in (include.file, include.target))
        in_family, of_family = folder.startswith("ops/"), target_folder.startswith("ops/")
        if in_family and of_family and folder != target_folder and include.target != family_header(target_folder):
            complaints.append(complain(include, "a family sees another by its main header alone"))
        if in_family and target_folder == "ops":
            complaints.append(complain(include, "a family must not know the list of families"))

    done: set[str] = set()
    for start in graph:
        path: list[str] = []

        def visit(file: str, path: list[str] = path) -> None:
            if file in path:
                complaints.append(f"include cycle: {' -> '.join([*path[path.index(file) :], file])}")
            elif file not in done:
                path.append(file)
                for target in graph[file]:
                    visit(target)
                path.pop()
                done.add(file)

        visit(start)
    return complaints


def wrong_kernels(sources: dict[str, str]) -> list[str]:
    """Find what kernel files, and the headers that they see, must not see."""
    by_file: dict[str, list[Include]] = {}
    for include in includes_of(sources):
        by_file.setdefault(include.file, []).append(include)
    complaints = []
    queue = [file for file in sources if is_kernel_file(file)]
    seen = set(queue)
    while queue:
        file = queue.pop()
        folder = str(pathlib.PurePosixPath(file).parent)
        for include in by_file.get(file, []):
            target = include.target
            if not include.quoted:
                if PYTHON_HEADER.match(target):
                    complaints.append(complain(include, "a kernel must not know Python"))
                continue
            target_path = pathlib.PurePosixPath(target)
            if target_path.parts[0] == "core":
                if target_path.stem in CORE_CLOSED_TO_KERNELS:
                    complaints.append(complain(include, "closed to kernels"))
                continue
            own = str(target_path.parent) == folder and target != family_header(folder)
            cuda_launch = file.endswith((".cu", ".cuh")) and target.startswith("device/cuda/")
            if not (target_path.parts[0] == "kernels" or own or cuda_launch):
                complaints.append(complain(include, "a kernel sees core, kernels and headers of its own"))
            elif target in sources and target not in seen:
                seen.add(target)
                queue.append(target)
    return complaints


def wrong_headers(sources: dict[str, str]) -> list[str]:
    """Find Python headers outside bindings and CUDA headers outside CUDA files."""
    complaints = []
    for include in includes_of(sources):
        if include.quoted:
            continue
        if PYTHON_HEADER.match(include.target) and not include.file.startswith("bindings/"):
            complaints.append(complain(include, "Python is known to bindings alone"))
        is_cuda = include.file.startswith("device/cuda/") or include.file.endswith((".cu", ".cuh"))
        if CUDA_HEADER.match(include.target) and not is_cuda:
            complaints.append(complain(include, "CUDA is known to device/cuda and *.cu alone"))
    return complaints


def wrong_words(sources: dict[str, str]) -> list[str]:
    """Find reads of the environment outside core/env.cpp and instruction sets named outside their rooms."""
    complaints = []
    for file, text in sources.items():
        for number, line in enumerate(code_of(text).split("\n"), 1):
            if file != "core/env.cpp" and ENVIRONMENT_CALL.search(line):
                complaints.append(f"{file}:{number}: the environment is read in core/env.cpp alone")
            if not file.startswith(MAY_NAME_INSTRUCTION_SETS):
                name = INSTRUCTION_SET_NAME.search(line)
                if name:
                    rule = "instruction sets are named in kernels and device/cpu alone"
                    complaints.append(f"{file}:{number}: {name[0]}: {rule}")
    return complaints


def imported_modules(tree: ast.AST, module: str) -> list[tuple[int, str]]:
    """Return (line, absolute module or member name) for each import in a tree."""
    package = module.split(".")
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            prefix = ".".join([*base, *([node.module] if node.module else [])])
            found += [(node.lineno, f"{prefix}.{alias.name}") for alias in node.names]
    return found


def module_level(tree: ast.Module) -> ast.Module:
    """Return what runs when the module is imported: no function bodies, nothing under TYPE_CHECKING."""
    body: list[ast.stmt] = []
    queue = list(tree.body)
    while queue:
        node = queue.pop(0)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            queue += node.orelse
        elif isinstance(node, (ast.If, ast.Try, ast.With, ast.ClassDef)):
            queue += [child for child in ast.iter_child_nodes(node) if isinstance(child, ast.stmt)]
        elif not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            body.append(node)
    return ast.Module(body=body, type_ignores=[])


def wrong_imports(package: pathlib.Path, stdlib: frozenset[str]) -> list[str]:
    """Find Python imports that run against the parts, or that make `import gorgo` pay for something optional."""
    complaints = []
    for path in sorted(package.rglob("*.py")):
        place = path.relative_to(package)
        parts = [*place.parts[:-1], *([] if place.stem == "__init__" else [place.stem])]
        # For relative imports an __init__ stands for itself as one more part.
        module = ".".join(["gorgo", *parts, *(["__init__"] if place.stem == "__init__" else [])])
        tree = ast.parse(path.read_text())
        part = parts[0] if parts else ""
        for line, name in imported_modules(tree, ".".join(module.split(".")[:-1]) or "gorgo"):
            words = name.split(".")
            if part in PUBLIC_ONLY and words[:2] == ["gorgo", "_core"]:
                complaints.append(f"{place}:{line}: {name}: {part} uses the public interface, not _core")
            if part and part not in UPPER_PARTS and words[0] == "gorgo" and len(words) > 1 and words[1] in UPPER_PARTS:
                complaints.append(f"{place}:{line}: {name}: {part} must not know {words[1]}")
            if part == "optim" and words[:2] == ["gorgo", "nn"]:
                complaints.append(f"{place}:{line}: {name}: optim must not know nn")
        for line, name in imported_modules(module_level(tree), ".".join(module.split(".")[:-1]) or "gorgo"):
            if name.split(".")[0] not in stdlib | IMPORTED_AT_ONCE:
                rule = "import it where it is needed, import gorgo must not wait for it"
                complaints.append(f"{place}:{line}: {name}: {rule}")
    return complaints


def stdlib_names() -> frozenset[str]:
    """Return the names of the standard library's modules."""
    return frozenset(sys.stdlib_module_names)


CPP_RULES = [wrong_layers, wrong_kernels, wrong_headers, wrong_words]


@pytest.mark.parametrize("rule", CPP_RULES, ids=lambda rule: rule.__name__)
def test_csrc_keeps_the_layers(rule):
    sources = read_sources(ROOT / "csrc")
    assert len(sources) > 5
    assert rule(sources) == []


def test_python_keeps_the_layers():
    package = ROOT / "python" / "gorgo"
    assert (package / "__init__.py").exists()
    assert wrong_imports(package, stdlib_names()) == []


GOOD = {
    "core/env.cpp": '#include "core/env.h"\nconst char* f() { return std::getenv("GORGO_ISA"); }\n',
    "core/env.h": "#include <string>\n",
    "core/kernel_args.h": "",
    "kernels/vec.h": "#include <immintrin.h>\ninline auto f() { return _mm256_setzero_ps(); }\n",
    "ops/matmul/matmul.h": '#include "core/env.h"\n// avx2, isa_avx2, getenv( in a comment are no offence\n',
    "ops/matmul/kernels.h": '#include "core/kernel_args.h"\n',
    "ops/matmul/kernels_cpu.cpp": '#include "ops/matmul/kernels.h"\n#include "kernels/vec.h"\n',
    "ops/conv/conv.cpp": '#include "ops/matmul/matmul.h"\nconst char* kName = "isa_avx2";\n',
    "bindings/module.cpp": "#include <Python.h>\n",
}


@pytest.mark.parametrize("rule", CPP_RULES, ids=lambda rule: rule.__name__)
def test_rules_accept_a_good_tree(rule):
    assert rule(GOOD) == []


@pytest.mark.parametrize(
    ("rule", "file", "text", "reason"),
    [
        (wrong_layers, "core/shape.h", '#include "ops/matmul/matmul.h"\n', "core must not know ops"),
        (wrong_layers, "kernels/math.h", '#include "device/isa.h"\n', "not a file of csrc"),
        (wrong_layers, "device/isa.h", '#include "kernels/vec.h"\n', "device must not know kernels"),
        (wrong_layers, "misc/a.h", '#include "core/env.h"\n', "in a folder that is no layer"),
        (wrong_layers, "ops/conv/plan.cpp", '#include "ops/matmul/kernels.h"\n', "by its main header alone"),
        (wrong_layers, "core/env.h", '#include "core/env.h"\n', "include cycle"),
        (wrong_kernels, "kernels/vec.h", '\n#include "core/parallel.h"\n', "closed to kernels"),
        (wrong_kernels, "ops/matmul/kernels_cuda.cu", '#include "ops/matmul/matmul.h"\n', "headers of its own"),
        (wrong_kernels, "ops/matmul/kernels.h", '#include "tensor/tensor.h"\n', "headers of its own"),
        (wrong_kernels, "ops/matmul/kernels_cpu.cpp", '#include "ops/conv/kernels.h"\n', "headers of its own"),
        (wrong_headers, "tensor/tensor.h", "#include <pybind11/pybind11.h>\n", "bindings alone"),
        (wrong_headers, "ops/matmul/matmul.cpp", "#  include <cuda_runtime.h>\n", "device/cuda and *.cu alone"),
        (wrong_words, "core/parallel.cpp", 'auto x = std::getenv("OMP_NUM_THREADS");\n', "core/env.cpp alone"),
        (wrong_words, "ops/conv/conv.cpp", "auto t = isa_avx2::table();\n", "kernels and device/cpu alone"),
        (wrong_words, "dispatch/call.cpp", "#if GORGO_HAVE_AVX512\n#endif\n", "kernels and device/cpu alone"),
    ],
)
def test_rules_name_a_wrong_file(rule, file, text, reason):
    complaints = rule({**GOOD, file: text})
    assert len(complaints) == 1
    assert file in complaints[0]
    assert reason in complaints[0]


@pytest.mark.parametrize(
    ("file", "text", "reason"),
    [
        ("nn/layers.py", "from gorgo import _core\n", "not _core"),
        ("optim/sgd.py", "def f():\n    from .._core import Tensor\n", "not _core"),
        ("optim/sgd.py", "from gorgo.nn import Module\n", "optim must not know nn"),
        ("autograd.py", "from gorgo import nn\n", "autograd must not know nn"),
        ("memory.py", "from . import optim\n", "memory must not know optim"),
        ("data.py", "try:\n    import sklearn\nexcept ImportError:\n    pass\n", "where it is needed"),
        ("__init__.py", "import numpy as np\n", "where it is needed"),
    ],
)
def test_imports_name_a_wrong_file(tmp_path, file, text, reason):
    good = {
        "__init__.py": "import sys\nfrom gorgo import _core\nfrom gorgo._core import Tensor\n",
        "nn/__init__.py": (
            "from typing import TYPE_CHECKING\nimport gorgo\nfrom . import layers\n"
            "if TYPE_CHECKING:\n    import numpy\ndef f():\n    import numpy\n"
        ),
    }
    for name, content in good.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content)
    assert wrong_imports(tmp_path, stdlib_names()) == []
    (tmp_path / file).parent.mkdir(exist_ok=True)
    (tmp_path / file).write_text(text)
    complaints = wrong_imports(tmp_path, stdlib_names())
    assert len(complaints) == 1
    assert complaints[0].startswith(f"{file}:")
    assert reason in complaints[0]
