"""The mark that a store was verified. Light to import: a sweep asks for it before it loads anything heavy."""

import json

from data_store.errors import InputError
from data_store.folders import open_folder
from data_store.manifest import Manifest

MARK_NAME = "verified.json"


def require_verified(manifest: Manifest) -> None:
    """Refuse a store that was not verified, or whose splits break the guarantee that it claims.

    A build verifies what it has written; a store that came another way is verified by ``data_store/verify.py``.

    Raises:
        InputError: there is no mark, it is of another state of the store, or it tells of faults.
    """
    remedy = f"run: python data_store/verify.py {manifest.store}"
    try:
        mark = json.loads(open_folder(manifest.store).read(MARK_NAME))
    except FileNotFoundError:
        raise InputError(f"a store must be verified before it is used, but {manifest.store} is not; {remedy}") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{manifest.store}/{MARK_NAME} must be readable, but: {error}; {remedy}") from error
    if not isinstance(mark, dict) or mark.get("store_digest") != manifest.digest:
        raise InputError(f"a store must be verified as it is, but {manifest.store} has changed since; {remedy}")
    faults = mark.get("faults")
    if faults != []:
        first = faults[0] if isinstance(faults, list) else "unknown"
        raise InputError(f"a store's verification must find no fault, but {manifest.store} has: {first}; {remedy}")
