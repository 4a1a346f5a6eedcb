"""StudyConfig: the knobs of a study, their bounds and help texts, and its profiles."""

import difflib
import json
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    ValidationError,
    model_validator,
)
from pydantic.fields import FieldInfo
from pydantic_core import core_schema, to_jsonable_python

from overparam.errors import ConfigError
from overparam.study.sources import FactorySource, FileContent

SEEDS_PER_ROOT = 1000


@dataclass(frozen=True)
class OneOf:
    """Marks a string of a config that must be one of some names.

    Example:
        >>> from typing import Annotated
        >>> Method = Annotated[str, OneOf(("mag", "snip"))]
    """

    names: tuple[str, ...]

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> core_schema.CoreSchema:
        return core_schema.literal_schema(list(self.names))


class StudyConfig(BaseModel):
    """Base of a study's config: one annotated pydantic field per knob.

    ``seed`` and ``seeds`` are inherited. A step that takes ``seeds`` receives the *tuple* of seeds
    (see :meth:`seed_values`), not their number.

    Three class attributes say what a field's own type can't:

    - ``profiles``: the fields that each profile sets;
    - ``needs``: what a name in any list asks for: with ``{"own": ("own_file",)}`` a list that holds
      ``own`` or ``own/mlp`` is refused unless ``own_file`` is given;
    - ``within``: lists that must be part of another one: with ``{"reference_tasks": "tasks"}``,
      where nothing is said of ``reference_tasks``, they are its default as far as ``tasks`` has
      it, else the first of ``tasks``.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", validate_default=True, allow_inf_nan=False
    )

    profiles: ClassVar[Mapping[str, Mapping[str, Any]]] = {"quick": {}, "full": {}}
    needs: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    within: ClassVar[Mapping[str, str]] = {}

    seed: int = Field(0, ge=0, le=10**9, description="root of all randomness")
    seeds: int = Field(5, ge=1, le=SEEDS_PER_ROOT, description="number of independent repetitions")

    @model_validator(mode="before")
    @classmethod
    def _parts_follow_the_whole(cls, data: Any) -> Any:
        if not isinstance(data, Mapping):
            return data
        filled = dict(data)
        for name, whole in cls.within.items():
            given = data.get(whole)
            if name not in data and isinstance(given, list | tuple):
                usual = cls.model_fields[name].get_default(call_default_factory=True)
                filled[name] = [item for item in usual if item in given] or given[:1]
        return filled

    @model_validator(mode="after")
    def _fields_fit_together(self) -> Self:
        for name, whole in self.within.items():
            if unknown := [v for v in getattr(self, name) if v not in getattr(self, whole)]:
                raise ValueError(f"{name} holds {unknown}; allowed: those of {whole}")
        for name, values in self:
            for value in values if isinstance(values, list | tuple) else ():
                wanted = self.needs.get(str(value).partition("/")[0], ())
                if absent := [field for field in wanted if getattr(self, field) is None]:
                    raise ValueError(f"{name}: {value} needs {' and '.join(absent)}")
        return self

    def seed_values(self) -> tuple[int, ...]:
        """The seeds of the repetitions: the first k do not depend on how many there are.

        Different root seeds share none, so that a second root is an independent repetition.
        """
        return tuple(self.seed * SEEDS_PER_ROOT + index for index in range(self.seeds))

    @classmethod
    def for_profile(cls, profile: str, overrides: Mapping[str, Any] | None = None) -> Self:
        """Make the config of ``profile`` with some fields overridden.

        Raises:
            ConfigError: unknown profile or field (with the nearest names), or a value out of
                range or of the wrong type (with what is allowed).
        """
        if profile not in cls.profiles:
            raise ConfigError(f"unknown profile {profile!r}; profiles: {', '.join(cls.profiles)}")
        overrides = overrides or {}
        for name in overrides:
            if name not in cls.model_fields:
                raise ConfigError(f"unknown field {name!r}{_nearest(name, cls.model_fields)}")
        try:
            return cls(**{**cls.profiles[profile], **overrides})
        except ValidationError as error:
            raise ConfigError(_explain(cls, error)) from None

    @classmethod
    def parse_setting(cls, setting: str) -> tuple[str, Any]:
        """Read one ``field=value`` of the command line, typed by the config.

        A list is written ``1,2,3`` or as JSON. The value is validated by :meth:`for_profile`.
        """
        name, equals, text = setting.partition("=")
        if not equals or not name:
            raise ConfigError(f"--set takes field=value, got {setting!r}")
        if name not in cls.model_fields:
            raise ConfigError(f"unknown field {name!r}{_nearest(name, cls.model_fields)}")
        return name, _from_text(cls.model_fields[name].annotation, text)

    @classmethod
    def is_list(cls, name: str) -> bool:
        """Whether a step receives a tuple or list for the field: what a step can spread over."""
        return name == "seeds" or _is_list(cls.model_fields[name].annotation)

    @classmethod
    def describe(cls) -> list[dict[str, Any]]:
        """One row per field: name, type, default, description, allowed."""
        schema = cls.model_json_schema()
        definitions = schema.get("$defs", {})
        return [
            {
                "name": name,
                "type": _type_name(_expand(schema["properties"][name], definitions)),
                "default": None
                if field.is_required()
                else to_jsonable_python(field.get_default(call_default_factory=True)),
                "description": field.description or "",
                "allowed": _allowed(_expand(schema["properties"][name], definitions)),
            }
            for name, field in cls.model_fields.items()
        ]

    def content(self, name: str) -> Any:
        """What the field contributes to a key: its JSON value, or the digest of what it names."""
        value = getattr(self, name)
        if name == "seeds":
            return list(self.seed_values())
        marker = _marker(type(self).model_fields[name])
        if marker is not None and value is not None:
            return {"content": marker.digest(value)}
        return self.model_dump(mode="json", include={name})[name]

    def cell_places(self, name: str, value: Any) -> tuple[str, ...]:
        """Code that the value of a spread name names, as ``module:name``; none for most.

        A config whose cells name registered methods overrides this: a method whose code has changed
        then runs again, and the others do not.
        """
        return ()

    def step_value(self, name: str) -> Any:
        """What a step receives for the field."""
        value = getattr(self, name)
        if name == "seeds":
            return self.seed_values()
        marker = _marker(type(self).model_fields[name])
        return value if marker is None or value is None else marker.step_value(value)


def _marker(field: FieldInfo) -> FileContent | FactorySource | None:
    """The content marker of a field, also inside ``DataFile | None``."""
    candidates = list(field.metadata)
    for part in typing.get_args(field.annotation):
        candidates += getattr(part, "__metadata__", ())
    return next((c for c in candidates if isinstance(c, FileContent | FactorySource)), None)


def _alternatives(annotation: Any) -> list[Any]:
    """The members of a union and the type inside ``Annotated``, flattened."""
    if typing.get_origin(annotation) is typing.Annotated:
        return _alternatives(typing.get_args(annotation)[0])
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return [kind for part in typing.get_args(annotation) for kind in _alternatives(part)]
    return [annotation]


def _is_list(annotation: Any) -> bool:
    return any(
        part in (tuple, list) or typing.get_origin(part) in (tuple, list)
        for part in _alternatives(annotation)
    )


def _from_text(annotation: Any, text: str) -> Any:
    """Read what stands after ``field=``; JSON where it looks like JSON and the field is no text."""
    if _takes_text(_alternatives(annotation)):
        return text
    if text.lstrip().startswith(("[", "{")):
        try:
            return json.loads(text)
        except json.JSONDecodeError as error:
            raise ConfigError(f"{text!r} is not JSON: {error}") from None
    if not _is_list(annotation):
        return _scalar(annotation, text)
    items = [kind for part in _alternatives(annotation) for kind in typing.get_args(part)]
    item = items[0] if items else Any
    return [_scalar(item, part.strip()) for part in text.split(",") if part.strip()]


def _takes_text(parts: list[Any]) -> bool:
    """Whether text is meant as it stands: for a string, and a choice of strings."""
    return all(
        part is str
        or (
            typing.get_origin(part) is typing.Literal
            and all(isinstance(value, str) for value in typing.get_args(part))
        )
        for part in parts
    )


def _scalar(annotation: Any, text: str) -> Any:
    words = {"true": True, "false": False, "none": None, "null": None}
    parts = _alternatives(annotation)
    if text.lower() in ("none", "null") and type(None) in parts:
        return None
    if _takes_text([part for part in parts if part is not type(None)]):
        return text
    if text.lower() in words:
        return words[text.lower()]
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _nearest(name: str, names: typing.Iterable[str]) -> str:
    names = list(names)
    close = difflib.get_close_matches(name, names, n=3)
    hint = f"; did you mean {' or '.join(close)}?" if close else ""
    return f"{hint} Fields: {', '.join(names)}" if hint else f"; fields: {', '.join(names)}"


def _explain(config: type[StudyConfig], error: ValidationError) -> str:
    allowed = {row["name"]: row["allowed"] for row in config.describe()}
    lines = []
    problems = error.errors(include_url=False)
    for problem in problems:
        if problem["type"] == "too_short" and any(
            other["loc"][: len(problem["loc"])] == problem["loc"] != other["loc"]
            for other in problems
        ):
            continue  # short of the items that are wrong, which are told
        path = ".".join(str(part) for part in problem["loc"])
        message = problem["msg"].removeprefix("Value error, ")
        message = message[:1].lower() + message[1:]
        top = str(problem["loc"][0]) if problem["loc"] else ""
        # A check of our own says what is allowed.
        known = allowed.get(top) and problem["type"] != "value_error"
        hint = f" (allowed: {allowed[top]})" if known else ""
        if problem["type"] == "missing":
            lines.append(f"{path} has no default and must be given{hint}")
            continue
        lines.append(f"{path}={problem['input']!r}: {message}{hint}" if path else message)
    return "; ".join(lines)


def _expand(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> dict[str, Any]:
    """Follow ``$ref`` and single ``allOf`` so that bounds and enums are seen where they apply."""
    reference = schema.get("$ref")
    merged = (
        {**definitions.get(reference.rpartition("/")[2], {}), **schema} if reference else schema
    )
    return dict(merged)


def _type_name(schema: Mapping[str, Any]) -> str:
    if "anyOf" in schema:
        return " | ".join(_type_name(part) for part in schema["anyOf"])
    if schema.get("type") == "array":
        inner = schema.get("items") or (schema.get("prefixItems") or [{}])[0]
        return f"list of {_type_name(inner)}"
    return str(schema.get("type", "any"))


_BOUNDS = {
    "minimum": ">= {}",
    "exclusiveMinimum": "> {}",
    "maximum": "<= {}",
    "exclusiveMaximum": "< {}",
    "minItems": "at least {} items",
    "maxItems": "at most {} items",
    "minLength": "at least {} characters",
    "pattern": "matching {}",
}


def _allowed(schema: Mapping[str, Any]) -> str:
    """What a value may be, in words: ``integer >= 1``, ``one of a, b``, ``list of number > 0``."""
    if "enum" in schema:
        return "one of " + ", ".join(map(str, schema["enum"]))
    if "const" in schema:
        return str(schema["const"])
    if "anyOf" in schema:
        return " or ".join(filter(None, (_allowed(part) for part in schema["anyOf"])))
    bounds = ", ".join(text.format(schema[key]) for key, text in _BOUNDS.items() if key in schema)
    if schema.get("type") == "array":
        inner = _allowed(schema.get("items") or (schema.get("prefixItems") or [{}])[0])
        return f"list of {inner}" + (f", {bounds}" if bounds else "")
    return f"{schema.get('type', '')} {bounds}".strip()
