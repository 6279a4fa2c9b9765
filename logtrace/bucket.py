"""A store in a bucket of S3, or of a server that speaks as S3 does.

Tables are written through delta-rs. They are read from copies in the cache: a file of a Delta table
never changes, so that each is brought once, and what was brought is read as fast as any folder.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import tempfile
import time
import weakref
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

from logtrace import cache as kept
from logtrace.errors import ConflictError, StoreError
from logtrace.location import folder_name, open_table

if TYPE_CHECKING:
    from deltalake import DeltaTable
    from obstore.store import S3Store

_AT_ONCE = 32  # requests
_CONNECT_WITHIN = timedelta(seconds=5)
_ANSWER_WITHIN = timedelta(seconds=30)
_RETRIES = 3
_RETRY_FOR = timedelta(seconds=20)
_KEEP_COPIES_S = 3600  # of replaced files: another process may be reading them
_CHECKPOINT = re.compile(r"\d{20}\.checkpoint\..*parquet")
_COMMIT = re.compile(r"\d{20}\.json")
_LAST_CHECKPOINT = "_last_checkpoint"  # as Delta calls what names the newest one
_BEHIND_HOSTS = "host>"  # in the order of names


class Settings(NamedTuple):
    """How to get to a bucket.

    Parameters
    ----------
    key, secret, token
        The credentials; no token for lasting ones.
    region, endpoint
        Of the server; no endpoint for Amazon's.
    """

    key: str
    secret: str
    token: str | None
    region: str
    endpoint: str | None

    def for_delta(self) -> dict[str, str]:
        """Give them as delta-rs takes them."""
        known = {
            "aws_access_key_id": self.key,
            "aws_secret_access_key": self.secret,
            "aws_session_token": self.token,
            "aws_region": self.region,
            "aws_endpoint_url": self.endpoint,
            "aws_allow_http": str(self.allows_http).lower(),
            "connect_timeout": f"{_CONNECT_WITHIN.seconds}s",
            "timeout": f"{_ANSWER_WITHIN.seconds}s",
            "max_retries": str(_RETRIES),
            "retry_timeout": f"{_RETRY_FOR.seconds}s",
        }
        return {name: value for name, value in known.items() if value is not None}

    @property
    def allows_http(self) -> bool:
        """Whether what is sent may be read on the way: who names such a server wants it."""
        return (self.endpoint or "").startswith("http:")


class Bucket:
    """A store in a bucket.

    Parameters
    ----------
    url
        ``s3://BUCKET`` or ``s3://BUCKET/PREFIX``.

    Attributes
    ----------
    sizes
        URL and size in bytes of each object, as `refresh` found them.

    Raises
    ------
    StoreError
        If the URL names no bucket.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        if not parts.netloc:
            raise StoreError(f"store {url} names no bucket", "name one, --store s3://BUCKET/PREFIX")
        self.name, self.prefix = parts.netloc, parts.path.strip("/")
        self.url = f"s3://{self.name}/{self.prefix}".rstrip("/")
        self.sizes: dict[str, int] = {}

    @cached_property
    def settings(self) -> Settings:
        """What the environment and its files say."""
        return _settings(self.url)

    @cached_property
    def copies(self) -> Path:
        """The folder of copies of the store's files, as they are in the bucket."""
        place = f"{self.settings.endpoint} {self.url}"
        return kept.folder("stores", hashlib.blake2b(place.encode(), digest_size=8).hexdigest())

    def host(self, name: str) -> Prefix:
        """Give where the tables of a host are."""
        return Prefix(self, folder_name(name))

    def require(self) -> None:
        """Raise StoreError if the bucket can't be read."""
        with self._errors("read"):
            # an answer without names, however many hosts there are
            next(iter(self._objects.list(offset=_BEHIND_HOSTS, chunk_size=1)), None)

    def refresh(self) -> None:
        """Bring copies of the logs of all tables up to date.

        Raises
        ------
        StoreError
            If the bucket can't be read, or the copies not written.
        """
        with self._errors("read"), ThreadPoolExecutor(_AT_ONCE) as pool:
            found = self._objects.list_with_delimiter()["common_prefixes"]
            hosts = [name for each in found if (name := each.strip("/")).startswith("host=")]
            self.sizes.clear()
            news = [each for listed in pool.map(self._refresh_host, hosts) for each in listed]
            list(pool.map(self._bring, news))
            for copy in self.copies.glob("host=*"):
                if copy.name not in hosts:
                    shutil.rmtree(copy, ignore_errors=True)

    def fetch(self, files: Iterable[str]) -> list[str]:
        """Bring files that are not here yet.

        Parameters
        ----------
        files
            URLs of files of this store that never change.

        Returns
        -------
        list of str
            Paths of their copies.

        Raises
        ------
        StoreError
            As of `refresh`.
        """
        names = [file.removeprefix(self.url + "/") for file in files]
        paths = [self.copies / name for name in names]
        missing = [
            _Object(name, 0, 0)
            for name, path in zip(names, paths, strict=True)
            if not path.exists()
        ]
        if missing:
            with self._errors("read"), ThreadPoolExecutor(_AT_ONCE) as pool:
                list(pool.map(self._bring, missing))
        return [str(path) for path in paths]

    def bring_log(self, table: str) -> list[Path]:
        """Bring what is needed of a table's log: its newest checkpoint, the commits behind it.

        Parameters
        ----------
        table
            Its name below the store's URL.

        Returns
        -------
        list of pathlib.Path
            Copies, as the files are there now; none if there is no table.

        Raises
        ------
        StoreError
            As of `refresh`.
        """
        log = f"{table}/_delta_log"
        with self._errors("read"), ThreadPoolExecutor(_AT_ONCE) as pool:
            listed = list(self._listed(log))
            needed = _needed(listed, to_append=True)
            list(pool.map(self._bring, self._missing(needed)))
            self._forget(log, listed)
        return [self.copies / each.name for each in needed]

    def bring_to(self, files: Mapping[Path, str]) -> None:
        """Bring objects to other places than that of the copies.

        Parameters
        ----------
        files
            Names below the store's URL, of objects that never change, by where to bring them.

        Raises
        ------
        StoreError
            As of `refresh`.
        """
        with self._errors("read"), ThreadPoolExecutor(_AT_ONCE) as pool:
            list(pool.map(self._download, files.values(), files.keys()))

    def put(self, name: str, file: Path, *, alone: bool) -> None:
        """Write an object.

        Parameters
        ----------
        name
            Below the store's URL.
        file
            What it is to be.
        alone
            Whether there must be none of this name.

        Raises
        ------
        ConflictError
            If there is one that must not be; it stays as it is.
        StoreError
            If it can't be written.
        """
        from obstore.exceptions import AlreadyExistsError

        with self._errors("written"):
            try:
                if alone:
                    self._objects.put(name, file, mode="create", use_multipart=False)
                else:
                    self._objects.put(name, file)
            except AlreadyExistsError:
                raise ConflictError(
                    f"store {self.url}/{name}: another process writes to it too"
                ) from None

    def error(self, what: str, error: Exception, name: str = "") -> StoreError:
        """Say that something can't be read or written, why, and what to do about it.

        Parameters
        ----------
        what
            ``read``, ``written`` or the like.
        error
            Of delta-rs, obstore or the cache.
        name
            Of the object or table, below the store's URL.

        Returns
        -------
        StoreError
            In one line.
        """
        why, remedy = _explain(_plain(str(error)), self.name, self.settings.endpoint)
        place = f"{self.url}/{name}" if name else self.url
        return StoreError(f"store {place} can't be {what}: {why}", remedy)

    @cached_property
    def _objects(self) -> S3Store:
        from obstore.store import S3Store

        known = self.settings
        config: Any = {
            "access_key_id": known.key,
            "secret_access_key": known.secret,
            "token": known.token,
            "region": known.region,
            "endpoint": known.endpoint,
        }
        config = {name: value for name, value in config.items() if value is not None}
        return S3Store(
            self.name,
            prefix=self.prefix or None,
            config=config,
            client_options={
                "allow_http": known.allows_http,
                "connect_timeout": _CONNECT_WITHIN,
                "timeout": _ANSWER_WITHIN,
            },
            retry_config={"max_retries": _RETRIES, "retry_timeout": _RETRY_FOR},
        )

    # Gives what is to be brought of the logs of a host's tables.
    def _refresh_host(self, host: str) -> list[_Object]:
        tables: dict[str, list[_Object]] = defaultdict(list)
        for each in self._listed(host):
            self.sizes[f"{self.url}/{each.name}"] = each.size
            tables[each.name.split("/")[1]].append(each)
        news = [each for listed in tables.values() for each in self._missing(_needed(listed))]
        self._forget(host, [each for listed in tables.values() for each in listed])
        return news

    def _listed(self, folder: str) -> Iterator[_Object]:
        for chunk in self._objects.list(f"{folder}/", chunk_size=1000):
            for each in chunk:
                yield _Object(each["path"], each["size"], each["last_modified"].timestamp())

    # Of what is wanted, that of which there is no copy as it is there.
    def _missing(self, wanted: Iterable[_Object]) -> list[_Object]:
        return [each for each in wanted if not each.is_at(self.copies / each.name)]

    # Files that are gone from the bucket are kept a while, but of a log that begins anew nothing.
    def _forget(self, below: str, listed: Iterable[_Object]) -> None:
        there = {each.name for each in listed}
        newest: dict[str, int] = defaultdict(lambda: -1)
        for name in there:
            folder, _, file = name.rpartition("/")
            newest[folder] = max(newest[folder], _version(file))
        for path in (self.copies / below).rglob("*"):
            if not path.is_file():
                continue
            name = str(path.relative_to(self.copies))
            folder, _, file = name.rpartition("/")
            is_old = path.stat().st_ctime < time.time() - _KEEP_COPIES_S
            if name not in there and (is_old or _version(file) > newest[folder]):
                path.unlink(missing_ok=True)

    def _bring(self, wanted: _Object) -> None:
        self._download(wanted.name, self.copies / wanted.name)

    def _download(self, name: str, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        found = self._objects.get(name)
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".", delete=False) as draft:
            try:
                for chunk in found.stream():
                    draft.write(chunk)
                draft.close()
                modified = found.meta["last_modified"].timestamp()
                os.utime(draft.name, (modified, modified))
                os.replace(draft.name, path)
            except BaseException:
                os.unlink(draft.name)
                raise

    @contextmanager
    def _errors(self, what: str) -> Iterator[None]:
        from obstore.exceptions import BaseError

        try:
            yield
        except BaseError as error:
            raise self.error(what, error) from None
        except OSError as error:
            raise StoreError(
                f"copies of store {self.url} can't be kept in {self.copies}: {error.strerror}",
                "make room, or name another folder in $LOGTRACE_CACHE",
            ) from None


class Prefix:
    """Where the tables of a host are in a bucket; there is nothing to lock, and always room.

    delta-rs reads a log anew for each look into it. What is appended alone is therefore written to
    a draft of the table on this machine's disk, which has the table's log but of its files only
    those that are to be joined; then the new files are brought to the bucket, the commit as the one
    of its version or not at all.

    Parameters
    ----------
    bucket
        The store.
    folder
        ``host=NAME``.
    """

    def __init__(self, bucket: Bucket, folder: str) -> None:
        self._bucket = bucket
        self._folder = folder
        self._published: dict[str, set[Path]] = defaultdict(set)  # files of each table's draft

    def __str__(self) -> str:
        return f"{self._bucket.url}/{self._folder}"

    @property
    def options(self) -> dict[str, str]:
        """What delta-rs needs to know to get there."""
        return self._bucket.settings.for_delta()

    def url(self, table: str) -> str:
        """Give a table's URL."""
        return f"{self}/{table}"

    def beside(self, host: str) -> Prefix:
        """Give where another host's tables are in the same store."""
        return self._bucket.host(host)

    def open(self, table: str) -> DeltaTable | None:
        """Open a table as it is now; None if there is none."""
        from deltalake.exceptions import DeltaError

        try:
            return open_table(self.url(table), self.options)
        except (DeltaError, OSError) as error:
            raise self.error(table, "read", error) from None

    def open_log(self, table: str) -> DeltaTable | None:
        """Begin a draft of a table as it is now; None if there is none."""
        from deltalake.exceptions import DeltaError

        shutil.rmtree(self._drafts / table, ignore_errors=True)
        self._published[table].clear()
        copies = self._bucket.bring_log(f"{self._folder}/{table}")
        if not copies:
            return None
        log = self._drafts / table / "_delta_log"
        try:
            log.mkdir(parents=True)
            self._published[table].update(Path(shutil.copy2(copy, log)) for copy in copies)
            return open_table(self.draft(table), shown=self.url(table))
        except (DeltaError, OSError) as error:
            raise self.error(table, "read", error) from None

    def draft(self, table: str) -> str:
        """Give the path of a table's draft."""
        return str(self._drafts / table)

    def bring_files(self, table: str, paths: Sequence[str]) -> None:
        """Bring files of a table, as its log calls them, into its draft."""
        draft = self._drafts / table
        files = {draft / path: f"{self._folder}/{table}/{path}" for path in paths}
        self._bucket.bring_to(files)
        self._published[table].update(files)

    def publish(self, table: str) -> None:
        """Bring what is new in a table's draft; raises ConflictError if others wrote too."""
        draft = self._drafts / table
        files = {path for path in draft.rglob("*") if path.is_file()} - self._published[table]
        for path in sorted(files, key=_published_after):
            name = f"{self._folder}/{table}/{path.relative_to(draft)}"
            self._bucket.put(name, path, alone=bool(_COMMIT.fullmatch(path.name)))
        self._published[table].update(path for path in files if path.name != _LAST_CHECKPOINT)
        if any(_CHECKPOINT.match(path.name) for path in files):
            self._clean_log(table)

    # Of the commits that the checkpoint stands for; the draft has few of them.
    def _clean_log(self, table: str) -> None:
        from deltalake.exceptions import DeltaError

        delta = self.open(table)
        try:
            if delta is not None:
                delta.cleanup_metadata()
        except (DeltaError, OSError) as error:
            raise self.error(table, "cleaned", error) from None

    @cached_property
    def _drafts(self) -> Path:
        folder = tempfile.mkdtemp(prefix="logtrace-")
        weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        return Path(folder)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Do nothing: of two commits of one version the bucket refuses the second."""
        yield

    def prepare(self, table: str, size: int) -> None:
        """Do nothing."""

    def error(self, table: str, what: str, error: Exception) -> StoreError:
        """Say that a table can't be read, written or the like."""
        return self._bucket.error(what, error, f"{self._folder}/{table}")


class _Object(NamedTuple):
    name: str
    size: int
    modified: float

    def is_at(self, path: Path) -> bool:
        try:
            known = path.stat()
        except FileNotFoundError:
            return False
        return (known.st_size, int(known.st_mtime)) == (self.size, int(self.modified))


# The newest checkpoint of a table's log, and the commits behind it; its own one to append to it.
def _needed(listed: Iterable[_Object], *, to_append: bool = False) -> list[_Object]:
    files = {name: each for each in listed if (name := _name_in_log(each.name))}
    newest = max((_version(name) for name in files if _CHECKPOINT.match(name)), default=-1)
    return [
        each
        for name, each in files.items()
        if (_COMMIT.fullmatch(name) and _version(name) > newest - to_append)
        or (_CHECKPOINT.match(name) and _version(name) == newest)
    ]


def _name_in_log(name: str) -> str | None:
    parts = name.split("/")
    return parts[3] if len(parts) == 4 and parts[2] == "_delta_log" else None


# A commit counts from when it is there: its rows come before it, what sums it up behind it.
def _published_after(path: Path) -> tuple[int, str]:
    if path.parent.name != "_delta_log":
        return 0, path.name
    if _COMMIT.fullmatch(path.name):
        return 1, path.name
    return (2 if path.name != _LAST_CHECKPOINT else 3), path.name


def _version(file: str) -> int:
    return int(file[:20]) if file[:20].isdecimal() and len(file) > 20 else -1


@cache
def _settings(url: str) -> Settings:
    try:
        import obstore  # noqa: F401
        from botocore.configprovider import ConfiguredEndpointProvider
        from botocore.exceptions import BotoCoreError
        from botocore.session import Session
    except ImportError as error:
        raise StoreError(
            f"store {url}: {error.name} is not installed", "pip install 'logtrace[s3]'"
        ) from None
    try:
        session = Session()
        credentials = session.get_credentials()
        if credentials is None:
            raise StoreError(
                f"store {url}: there are no credentials",
                "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or write ~/.aws/credentials",
            )
        known = credentials.get_frozen_credentials()
        endpoint = ConfiguredEndpointProvider(
            session.full_config, session.get_scoped_config(), "s3"
        ).provide()
        region = os.environ.get("AWS_REGION") or session.get_config_variable("region")
    except BotoCoreError as error:
        raise StoreError(
            f"store {url}: {_plain(str(error))}", "mend ~/.aws/config or the environment"
        ) from None
    return Settings(
        known.access_key, known.secret_key, known.token, region or "us-east-1", endpoint
    )


# The errors of the Rust libraries are drawn as trees, and may have a page of XML.
def _plain(text: str) -> str:
    text = re.sub(r"\x1b\[[0-9;]*m", "", text).replace("\u21b3", ":")
    return re.sub(
        r"\s+(?=[:,])|\s+", lambda match: "" if match.end() == match.start() else " ", text
    )


_REASONS: Mapping[str, tuple[str, str]] = {
    r"NoSuchBucket": ("there is no bucket {bucket}", "make it, or name another"),
    r"InvalidAccessKeyId|SignatureDoesNotMatch|InvalidToken|ExpiredToken|Unauthenticated|401 ": (
        "the server does not take the key",
        "check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or ~/.aws/credentials",
    ),
    r"AccessDenied|PermissionDenied|403 ": (
        "the key may not do this in bucket {bucket}",
        "allow it to list, get, put and delete objects there",
    ),
    r"URL scheme is not allowed": ("{server} is no URL", "set AWS_ENDPOINT_URL to https://HOST"),
    r"[Cc]onnect|dns error|timed out|error sending request": (
        "{server} can't be reached",
        "check the network and AWS_ENDPOINT_URL",
    ),
}


def _explain(text: str, bucket: str, endpoint: str | None) -> tuple[str, str]:
    for pattern, (why, remedy) in _REASONS.items():
        if re.search(pattern, text):
            return why.format(bucket=bucket, server=endpoint or "Amazon S3"), remedy
    return text, "check the server, and what the key may do"
