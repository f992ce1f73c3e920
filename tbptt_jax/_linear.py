"""A linear function made ready for many applications: what stays the same is computed once.

What JAX derives for a pullback multiplies the argument by known factors one by one, each time:
v·i·(1 + y)·(1 - y) for i·tanh(z). Here runs of elementwise factors become one,

    u = Σₖ aₖ ∘ vₖ

with all aₖ computed before, and matrices are laid out for the product they stand in. Only the order
of factors changes, and where at most one of those merged may be large, so that a product of factors
cannot overflow where the argument's would not; float16, which overflows at 65504 and loses what is
below 6e-8, is left as it is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import Literal, Primitive, primitives


class Known(NamedTuple):
    """A value that does not depend on the argument.

    `stacked` where it depends on the item, `bounded` where no entry can be large: those of tanh, of
    1 - tanh and of their products.
    """

    value: Any
    stacked: bool
    bounded: bool = False


class Residual(NamedTuple):
    """Where a known value that an application reads is kept."""

    stacked: bool
    position: int


class Term(NamedTuple):
    """aₖ ∘ vₖ: a factor (None for 1) and the number of a value."""

    factor: Any
    value: int


class Sum(NamedTuple):
    """An operation Σₖ aₖ ∘ vₖ; its factors are residuals."""

    terms: tuple[Term, ...]


class Apply(NamedTuple):
    """Any other operation; its operands are numbers of values, or residuals."""

    primitive: Primitive
    params: dict[str, Any]
    context: Any  # JAX's settings where the operation was traced
    operands: tuple[int | Residual, ...]


def prepare(
    fun: Callable[[Any, Any, Any], Any], shared: Any, item: Any, argument: Any
) -> tuple[Any, Callable[[Any], Any], Callable[[Any, Any, Any], Any]]:
    """Splits a linear function of many items into what can be computed before and what cannot.

        fun(shared, item, argument) = apply(of_all, of_one(item), argument)

    Args:
      fun: linear in its last argument; pytrees of arrays.
      shared: what all items read.
      item: any of them, for its shapes and types.
      argument: of one item; its shapes and types count alone.

    Returns:
      `of_all`, what depends on `shared` alone; the function `of_one`; and `apply`.
    """
    jaxpr, result = jax.make_jaxpr(fun, return_shape=True)(shared, item, argument)

    def program(item):
        known = [Known(leaf, False) for leaf in jax.tree.leaves(shared)]
        known += [Known(leaf, True) for leaf in jax.tree.leaves(item)]
        return _Program(jaxpr, known, len(jax.tree.leaves(argument)))

    def apply(of_all, of_one, argument):
        leaves = example.apply({False: of_all, True: of_one}, jax.tree.leaves(argument))
        return jax.tree.unflatten(jax.tree.structure(result), leaves)

    example = program(item)
    return example.residuals(False), lambda item: program(item).residuals(True), apply


class _Program:
    """What is left to do once the argument's values are there.

    In the making, a variable is `Known`, or a tuple of terms.
    """

    def __init__(self, jaxpr, known, num_arguments):
        self.num_values = num_arguments
        self.operations: list[Sum | Apply] = []
        self.kept: dict[bool, list[Known]] = {False: [], True: []}  # the residuals, by `stacked`
        arguments = [(Term(None, number),) for number in range(num_arguments)]
        results = self.evaluate(jaxpr.jaxpr, jaxpr.consts, [*known, *arguments])
        self.results = [self.operand(result) for result in results]

    def residuals(self, stacked):
        return [known.value for known in self.kept[stacked]]

    def apply(self, residuals, arguments):
        values = list(arguments)

        def read(operand):
            if isinstance(operand, Residual):
                return residuals[operand.stacked][operand.position]
            return values[operand]

        for operation in self.operations:
            if isinstance(operation, Sum):
                first, *others = (
                    values[v] if a is None else read(a) * values[v] for a, v in operation.terms
                )
                values.append(sum(others, first))
            else:
                primitive, params, context, operands = operation
                values += _bind(primitive, params, context, map(read, operands))
        return [read(result) for result in self.results]

    def evaluate(self, jaxpr, consts, inputs):
        variables = dict(zip(jaxpr.invars, inputs, strict=True))
        variables |= {v: Known(c, False) for v, c in zip(jaxpr.constvars, consts, strict=True)}

        def read(atom):
            return _literal(atom) if isinstance(atom, Literal) else variables[atom]

        def single(atom):
            """The variable, as one term from now on."""
            variable = read(atom)
            if not isinstance(variable, Known) and len(variable) > 1:
                variable = variables[atom] = (Term(None, self.value(variable)),)
            return variable

        for eqn in jaxpr.eqns:
            read_as = read if eqn.primitive in _SUMS else single
            outputs = self.equation(eqn, [read_as(atom) for atom in eqn.invars])
            variables |= zip(eqn.outvars, outputs, strict=True)
        return [read(atom) for atom in jaxpr.outvars]

    def equation(self, eqn, inputs):
        primitive, params = eqn.primitive, eqn.params
        if primitive is primitives.jit_p:
            return self.evaluate(params["jaxpr"].jaxpr, params["jaxpr"].consts, inputs)
        known = [isinstance(variable, Known) for variable in inputs]
        if all(known):
            return _evaluate_known(eqn, inputs)
        if primitive in _SUMS and not any(known):
            return [_add_terms(*inputs)]
        if primitive is primitives.neg_p:
            return [self.scale(inputs[0], Known(-1.0, False, bounded=True))]
        if primitive is primitives.mul_p and any(known) and _mergeable(eqn, known.index(False)):
            factor, variable = inputs if known[0] else inputs[::-1]
            return [self.scale(variable, factor)]
        if primitive is primitives.dot_general_p and not known[0]:
            params, inputs = _contracted_first(params, inputs)
        operands = tuple(self.operand(variable) for variable in inputs)
        self.operations.append(Apply(primitive, params, eqn.ctx, operands))
        self.num_values += len(eqn.outvars)
        first = self.num_values - len(eqn.outvars)
        return [(Term(None, number),) for number in range(first, self.num_values)]

    def scale(self, terms, factor):
        """The terms times a factor; as a value of their own first, where it must not be merged."""
        if not factor.bounded and any(a is not None and not a.bounded for a, _ in terms):
            terms = (Term(None, self.value(terms)),)
        return tuple(term._replace(factor=_multiply(term.factor, factor)) for term in terms)

    def operand(self, variable) -> int | Residual:
        """Where an application finds the variable."""
        if not isinstance(variable, Known):
            return self.value(variable)
        kept = self.kept[variable.stacked]
        position = next((i for i, known in enumerate(kept) if known is variable), len(kept))
        if position == len(kept):
            kept.append(variable)
        return Residual(variable.stacked, position)

    def value(self, variable) -> int:
        """The number of a value that is the whole linear combination."""
        if len(variable) == 1 and variable[0].factor is None:
            return variable[0].value
        terms = tuple(
            Term(None if factor is None else self.operand(factor), value)
            for factor, value in variable
        )
        self.operations.append(Sum(terms))
        self.num_values += 1
        return self.num_values - 1


_SUMS = (primitives.add_p, primitives.add_jaxvals_p)
# Functions with values in -1..1, and those that are bounded where their operands are; by name.
_BOUNDED = {"tanh", "logistic", "sin", "cos", "erf", "sign"}
_KEEPS_BOUNDED = {"add", "add_any", "sub", "neg", "mul", "square", "select_n"}
_KEEPS_BOUNDED |= {"split", "slice", "squeeze", "reshape", "broadcast_in_dim", "transpose"}


def _literal(atom):
    is_number = jnp.issubdtype(atom.aval.dtype, jnp.number)  # and not a float0
    return Known(atom.val, False, bounded=is_number and bool(np.all(np.abs(atom.val) <= 2)))


def _evaluate_known(eqn, inputs):
    primitive = eqn.primitive
    stacked = any(known.stacked for known in inputs)
    numbers = inputs[1:] if primitive is primitives.select_n_p else inputs
    real = not jnp.issubdtype(eqn.outvars[0].aval.dtype, jnp.complexfloating)
    bounded = primitive.name in _BOUNDED and real  # the sine of an imaginary number is large
    bounded |= primitive.name in _KEEPS_BOUNDED and all(known.bounded for known in numbers)
    outputs = _bind(primitive, eqn.params, eqn.ctx, [known.value for known in inputs])
    return [Known(output, stacked, bounded) for output in outputs]


def _add_terms(left, right):
    terms = {term.value: term for term in left}
    for term in right:
        if term.value in terms:
            term = Term(_add(terms[term.value].factor, term.factor), term.value)
        terms[term.value] = term
    return tuple(terms.values())


_ONE = Known(1.0, False, bounded=True)


def _add(a: Known | None, b: Known | None) -> Known:
    a, b = a or _ONE, b or _ONE
    return Known(a.value + b.value, a.stacked or b.stacked, a.bounded and b.bounded)


def _multiply(a: Known | None, b: Known) -> Known:
    if a is None:
        return b
    return Known(a.value * b.value, a.stacked or b.stacked, a.bounded and b.bounded)


def _mergeable(eqn, operand):
    """A product that keeps the operand's shape, of a type in which the order matters little."""
    (output,) = eqn.outvars
    same_shape = eqn.invars[operand].aval.shape == output.aval.shape
    return same_shape and output.aval.dtype != jnp.float16


def _contracted_first(params, inputs):
    """A product with its known matrix laid out so that the contracted axes come first."""
    (left, right), batch = params["dimension_numbers"]
    known = inputs[1]
    if not isinstance(known, Known) or known.stacked or batch != ((), ()):
        return params, inputs
    free = [axis for axis in range(known.value.ndim) if axis not in right]
    known = known._replace(value=jax.lax.transpose(known.value, [*right, *free]))
    numbers = (left, tuple(range(len(right)))), batch
    return params | {"dimension_numbers": numbers}, [inputs[0], known]


def _bind(primitive, params, context, values):
    with context.manager:
        results = primitive.bind(*values, **primitive.get_bind_params(params))
    return list(results) if primitive.multiple_results else [results]
