"""Fetching checkpoints: only those whose hash is known, or that a person asks for; never in offline mode."""

import hashlib
import os
import re
import tempfile
from pathlib import Path
from urllib.error import URLError
from urllib.parse import unquote, urldefrag, urlparse

import torch
from mmengine.dist import barrier, is_main_process
from mmengine.logging import print_log

#: Set in the environment: nothing is downloaded.
OFFLINE = 'DETROVE_OFFLINE'
#: Set in the environment: also what no hash is known of is downloaded.
UNCHECKED = 'DETROVE_DOWNLOAD'
_IN_NAME = re.compile(r'[-_]([0-9a-f]{8,64})\.[^.]+$')  # resnet50-11ad3fa6.pth: how PyTorch and OpenMMLab name files


def is_address(source: str) -> bool:
    """Whether a checkpoint is named by an http(s) address."""
    return source.startswith(('http://', 'https://'))


def fetch(address: str) -> str:
    """The file at an address, from torch's hub folder; downloaded into it by the main process where it is not there.

    The hash is the first digits of the SHA-256 that many projects put into the name of the file, or the whole of it
    after `#sha256=` at the end of the address. It is looked at in every call.

    Returns:
        Path of the file.

    Raises:
        FileNotFoundError: the file is not there, and offline mode, or that no hash is known, forbids to download it.
        ValueError: the file has another hash.
        OSError: it cannot be downloaded.
    """
    bare, sha256 = split_hash(address)
    file = Path(torch.hub.get_dir()) / 'checkpoints' / _file_name(bare)
    if is_main_process():
        if not file.exists():
            _download(bare, file, sha256)
        elif sha256 and not (found := _sha256(file)).startswith(sha256):
            raise ValueError(f'{file} is not what {address} promises: its SHA-256 is {found}, and should begin with '
                             f'{sha256}. Delete it to download it again.')
    barrier()
    return str(file)


def split_hash(address: str) -> tuple[str, str]:
    """An address without its `#sha256=...`, and the hash or its beginning; empty where none is known.

    Raises:
        ValueError: what follows `#` is no SHA-256.
    """
    bare, fragment = urldefrag(address)
    if not fragment:
        in_name = _IN_NAME.search(_file_name(bare))
        return bare, in_name[1] if in_name else ''
    if not re.fullmatch(r'sha256=[0-9a-f]{64}', fragment):
        raise ValueError(f'{address}: after # only sha256= and the 64 digits (0 to 9, a to f) of a SHA-256 are known')
    return bare, fragment.removeprefix('sha256=')


def _file_name(address: str) -> str:
    name = Path(unquote(urlparse(address).path)).name
    if not name or name == '..':
        raise ValueError(f'{address} does not end in the name of a file')
    return name


def _download(address: str, file: Path, sha256: str) -> None:
    place = f'Download {address} by other means and put it there: {file}'
    if _is_set(OFFLINE):
        raise FileNotFoundError(f'{file.name} is not there, and {OFFLINE} is set in the environment. {place}')
    if not sha256 and not _is_set(UNCHECKED):
        raise FileNotFoundError(
            f'{file.name} is not there, and no hash is known by which to check a download. {place}; or add '
            f'#sha256= and its hash to the address; or set {UNCHECKED}=1 in the environment to take what is at that '
            'address.')
    file.parent.mkdir(parents=True, exist_ok=True)
    print_log(f'downloading {address} to {file}', 'current')
    handle, partial = tempfile.mkstemp(dir=file.parent, prefix=f'.{file.name}.')
    os.close(handle)
    try:
        try:
            torch.hub.download_url_to_file(address, partial, progress=True)
        except URLError as error:
            raise OSError(f'{address} cannot be downloaded: {error.reason}. {place}') from error
        found = _sha256(Path(partial))
        if not found.startswith(sha256):
            raise ValueError(f'what is at {address} has the SHA-256 {found}, which should begin with {sha256}: it was '
                             'changed or damaged on its way, and was not kept.')
        if not sha256:
            print_log(f'unchecked: to have {file.name} checked from now on, write {address}#sha256={found}', 'current')
        os.chmod(partial, 0o644)
        os.replace(partial, file)
    finally:
        Path(partial).unlink(missing_ok=True)


def _sha256(file: Path) -> str:
    digest = hashlib.sha256()
    with open(file, 'rb') as stream:
        while block := stream.read(2**20):
            digest.update(block)
    return digest.hexdigest()


def _is_set(variable: str) -> bool:
    return os.environ.get(variable, '0').lower() not in ('', '0', 'false')
