"""Genomes as symbols 0 to 3, and splice junctions with their class."""

import gzip
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..common import DataError, find, read_columns


BASES = "ACGT"
CLASSES = ("ei", "ie", "n")
LENGTH = 60
SPLICE = (
    "the data set DNA of the R package mlbench (Towell et al. 1991, UCI; CC BY 4.0)"
)
GENOMES = {
    "genome/NC_008253.fna.gz": "NCBI, NC_008253 (Escherichia coli 536; public domain)",
    "genome/lambda_virus.fa.gz": "NCBI, NC_001416 (phage lambda; public domain)",
}


def symbols(bases: str, where: str) -> np.ndarray:
    """The places of bases in `BASES`, int32.

    Raises:
        DataError: if there are other letters.
    """
    codes = np.full(256, -1, np.int32)
    codes[np.frombuffer(BASES.encode(), np.uint8)] = np.arange(4)
    found = codes[np.frombuffer(bases.upper().encode("latin-1"), np.uint8)]
    if (found < 0).any():
        letter = bases[int(np.argmax(found < 0))]
        raise DataError(f"{where}: {letter!r} is not a base; only A, C, G, T are read.")
    return found


def reverse_complement(bases: np.ndarray) -> np.ndarray:
    """The other strand, in the direction in which it is read."""
    return 3 - bases[::-1]


def genome(data_dir: Path, name: str) -> np.ndarray:
    """The bases of one of `GENOMES`, a FASTA file with one record, compressed by gzip."""
    path = find(data_dir, name, GENOMES[name])
    try:
        lines = gzip.decompress(path.read_bytes()).decode("ascii").splitlines()
    except (EOFError, gzip.BadGzipFile, zlib.error, UnicodeDecodeError) as error:
        raise DataError(f"{path}: not a whole gzip file of text: {error}.") from error
    if not lines or not lines[0].startswith(">") or len(lines) < 2:
        raise DataError(f"{path}: a FASTA file begins with a line '>name', then bases.")
    if any(line.startswith(">") for line in lines[1:]):
        raise DataError(f"{path}: there are several records; give a file with one.")
    return symbols("".join(lines[1:]), str(path))


@dataclass(frozen=True, eq=False)
class Genome:
    """Three stretches of a genome, one after the other."""

    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray


def split(bases: np.ndarray) -> Genome:
    """The last tenth for the test, the tenth before it for validation."""
    a, b = int(0.8 * len(bases)), int(0.9 * len(bases))
    return Genome(bases[:a], bases[a:b], bases[b:])


def splice(data_dir: Path) -> tuple[np.ndarray, np.ndarray]:
    """Splice junctions: bases `(N, 60)` and classes `(N,)`, both int32."""
    path = find(data_dir, "genome/splice.csv", SPLICE)
    columns = read_columns(path, ("class", "sequence"))
    unknown = set(columns["class"]) - set(CLASSES)
    if unknown:
        raise DataError(f"{path}: the classes {unknown} are not {', '.join(CLASSES)}.")
    wrong = [s for s in columns["sequence"] if len(s) != LENGTH]
    if wrong:
        raise DataError(f"{path}: {wrong[0]!r} does not have {LENGTH} bases.")
    rows = [symbols(sequence, str(path)) for sequence in columns["sequence"]]
    classes = [CLASSES.index(name) for name in columns["class"]]
    return np.stack(rows), np.array(classes, np.int32)
