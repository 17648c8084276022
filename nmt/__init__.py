"""Neural machine translation with recurrent layers that run on several devices as a pipeline.

`Translator` is the public interface for translating. It is imported lazily, so that `import nmt`
needs neither torch nor any of the training libraries.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nmt.decoding.translation import Translation
    from nmt.decoding.translator import Translator

__version__ = "0.3.0.dev0"
__all__ = ["Translation", "Translator", "__version__"]


def __getattr__(name: str) -> Any:
    if name in ("Translation", "Translator"):
        from nmt.decoding import translator

        return getattr(translator, name)
    raise AttributeError(f"module 'nmt' has no attribute {name!r}")
