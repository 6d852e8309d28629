"""Reads optimized HLO: its loops, their trip counts, and what a step of them does."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property


@dataclass(frozen=True)
class Instruction:
    """One line of HLO: `name = type op(operands), attributes`."""

    name: str
    type: str
    op: str
    rest: str

    @property
    def cycles(self) -> int:
        """The cycles that libtpu's cost model estimates for one run; 0 if it says nothing."""
        found = re.search(r'"estimated_cycles":"(\d+)"', self.rest)
        return int(found[1]) if found else 0

    def called(self, attribute: str) -> str | None:
        """The computation that an attribute names, such as `body` or `calls`."""
        found = re.search(rf"\b{attribute}=%?([\w.-]+)", self.rest)
        return found[1] if found else None

    @property
    def branches(self) -> list[str]:
        """The computations of a conditional."""
        if found := re.search(r"branch_computations=\{([^}]*)\}", self.rest):
            return re.findall(r"%?([\w.-]+)", found[1])
        names = (self.called("true_computation"), self.called("false_computation"))
        return [name for name in names if name]


@dataclass
class Computation:
    """A computation: its instructions in their order, and the one that it returns."""

    name: str
    instructions: list[Instruction] = field(default_factory=list)
    root: Instruction | None = None


@dataclass(frozen=True)
class Loop:
    """A while loop.

    Attributes:
        body: the computation of one step.
        carry: the types of the loop's carry, with layouts.
        trips: the number of steps.
        total: the number of steps in the whole program, those of outer loops included.
        depth: 1 for a loop that is in no other loop.
    """

    body: Computation
    carry: tuple[str, ...]
    trips: int
    total: int
    depth: int


_INSTRUCTION = re.compile(
    r"^\s+(?P<root>ROOT )?%?(?P<name>[\w.-]+) = "
    r"(?P<type>\(.*?\)(?= [\w-]+\()|[^\s(]\S*) (?P<op>[\w-]+)\((?P<rest>.*)$"
)
_HEADER = re.compile(r"^(?P<entry>ENTRY )?%?(?P<name>[\w.-]+) \(.*\{$")
_ARRAY = re.compile(r"(?P<dtype>[a-z]\w*)\[(?P<shape>[\d,]*)\](?P<layout>\{[^}]*\})?")


@dataclass(frozen=True)
class Array:
    """An array in a type: its dtype, shape and layout, such as `{1,0:T(8,128)S(1)}`."""

    dtype: str
    shape: tuple[int, ...]
    layout: str

    @property
    def in_vmem(self) -> bool:
        """Whether a TPU keeps it in vector memory, which XLA calls memory space 1."""
        return "S(1)" in self.layout


def arrays(type_: str) -> list[Array]:
    """The arrays of a type, which may be a tuple."""
    return [
        Array(
            found["dtype"],
            tuple(int(n) for n in found["shape"].split(",") if n),
            found["layout"] or "",
        )
        for found in _ARRAY.finditer(type_)
    ]


class Module:
    """A program in optimized HLO.

    Raises:
        ValueError: if the text has no entry computation.
    """

    def __init__(self, text: str) -> None:
        self.computations: dict[str, Computation] = {}
        entry = current = None
        for line in text.splitlines():
            if header := _HEADER.match(line):
                current = Computation(header["name"])
                self.computations[current.name] = current
                entry = current if header["entry"] else entry
            elif line.startswith("}"):
                current = None
            elif current is not None and (found := _INSTRUCTION.match(line)):
                instruction = Instruction(
                    found["name"], found["type"], found["op"], found["rest"]
                )
                current.instructions.append(instruction)
                current.root = instruction if found["root"] else current.root
        if entry is None:
            raise ValueError("this text has no ENTRY computation: give optimized HLO")
        self.entry = entry

    @cached_property
    def loops(self) -> tuple[Loop, ...]:
        """All loops, an outer one before those inside it."""
        return tuple(self._loops_of(self.entry, 1, 1))

    def _loops_of(
        self, computation: Computation, outer: int, depth: int
    ) -> Iterator[Loop]:
        for instruction in computation.instructions:
            if instruction.op == "while":
                trips = self._trips(instruction)
                body = self._callee(instruction, "body")
                carry = tuple(_ARRAY_WITH_LAYOUT.findall(instruction.type))
                yield Loop(body, carry, trips, outer * trips, depth)
                yield from self._loops_of(body, outer * trips, depth + 1)
            for callee in self._plain_calls(instruction):
                yield from self._loops_of(callee, outer, depth)

    def _plain_calls(self, instruction: Instruction) -> list[Computation]:
        """Computations that run as a part of this one: not fusions, which are one kernel."""
        names = list(instruction.branches)
        if instruction.op in ("call", "async-start"):
            names += filter(
                None, (instruction.called("to_apply"), instruction.called("calls"))
            )
        return [self.computations[name] for name in names]

    def _callee(self, instruction: Instruction, attribute: str) -> Computation:
        name = instruction.called(attribute)
        assert name is not None, f"{instruction.op} without {attribute}"
        return self.computations[name]

    def _trips(self, loop: Instruction) -> int:
        """The trip count: what the compiler found, or the constant of the condition."""
        known = re.search(r'"known_trip_count":\{"n":"(\d+)"', loop.rest)
        if known:
            return int(known[1])
        condition = self._callee(loop, "condition")
        constants = [
            found[1]
            for i in condition.instructions
            if i.op == "constant" and (found := re.match(r"(\d+)\)", i.rest))
        ]
        if len(constants) != 1:
            raise ValueError(
                f"the trip count of {loop.name} is not a constant of {condition.name}; "
                "read the dump of the program and extend Module._trips"
            )
        return int(constants[0])

    @cached_property
    def cycles(self) -> int:
        """The estimated cycles of all operations, times the steps of their loops.

        Of a conditional, the branch with the fewest cycles counts: the library's
        conditionals run the other one only where numbers are not finite.
        """
        return self._cycles_of(self.entry)

    def _cycles_of(self, computation: Computation) -> int:
        total = 0
        for instruction in computation.instructions:
            total += instruction.cycles
            if instruction.op == "while":
                body = self._callee(instruction, "body")
                total += self._trips(instruction) * self._cycles_of(body)
            elif instruction.branches:
                total += min(map(self._cycles_of, self._plain_calls(instruction)))
            else:
                total += sum(map(self._cycles_of, self._plain_calls(instruction)))
        return total

    def in_loops(self) -> Iterator[tuple[Loop, Instruction]]:
        """The operations of every loop's step, without those of loops inside it."""
        for loop in self.loops:
            yield from ((loop, i) for i in self._steps_of(loop.body))

    def _steps_of(self, computation: Computation) -> Iterator[Instruction]:
        for instruction in computation.instructions:
            yield instruction
            for callee in self._plain_calls(instruction):
                yield from self._steps_of(callee)

    def inside(self, instruction: Instruction) -> list[Instruction]:
        """The operations of a fusion, those of nested fusions included."""
        if instruction.op != "fusion":
            return [instruction]
        body = self._callee(instruction, "calls")
        return [inner for i in body.instructions for inner in self.inside(i)]

    def operations(self) -> Iterator[Instruction]:
        """The operations of all computations."""
        for computation in self.computations.values():
            yield from computation.instructions

    def custom_calls(self) -> set[str]:
        """The targets of all custom calls."""
        pattern = re.compile(r'custom_call_target="([^"]+)"')
        return {
            found[1]
            for computation in self.computations.values()
            for i in computation.instructions
            if i.op == "custom-call" and (found := pattern.search(i.rest))
        }


_ARRAY_WITH_LAYOUT = re.compile(r"[a-z]\w*\[[\d,]*\](?:\{[^}]*\})?")
