"""Random update rules."""

from __future__ import annotations

from hypothesis import strategies as st

from nmt.rules import Call, Expression, Mean, Number, Variable
from nmt.rules.expression import FUNCTIONS, OPERATORS, VARIABLES

LEAVES: st.SearchStrategy[Expression] = st.one_of(
    st.sampled_from(list(VARIABLES)).map(Variable),
    st.sampled_from([0.0, 1.0, 2.0, -1.0, 0.5, 3.0, 1e-8]).map(Number),
)


def _larger(inner: st.SearchStrategy[Expression]) -> st.SearchStrategy[Expression]:
    return st.one_of(
        st.builds(Mean, inner, st.sampled_from([0.0, 0.9, 0.99]), st.booleans()),
        st.builds(
            lambda name, x: Call(name, (x,)), st.sampled_from([*FUNCTIONS, "negative"]), inner
        ),
        st.builds(
            lambda name, x, y: Call(name, (x, y)), st.sampled_from(list(OPERATORS)), inner, inner
        ),
        st.builds(
            lambda x, bound: Call("clip", (x, Number(bound))), inner, st.sampled_from([0.1, 1.0])
        ),
    )


RULES: st.SearchStrategy[Expression] = st.recursive(LEAVES, _larger, max_leaves=12)
