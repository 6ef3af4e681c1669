"""Reading unions: an object whose `type` names the arm that stands beside it, or a bare string.

In a flat union the arm's fields stand where the arm does in the others.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from service.wire import rules, values
from service.wire.errors import InvalidValueError, expected
from service.wire.walk import Read, Walk

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from google.protobuf.descriptor import Descriptor, OneofDescriptor

    FieldsOf = Callable[[Descriptor, OneofDescriptor | None], dict[str, Read]]


def union_reader(descriptor: Descriptor, oneof: OneofDescriptor, fields: Mapping[str, Read]) -> Read:
    """Compiles the reader of a union from the readers of its fields."""
    return _or_word(descriptor, _Union(descriptor, oneof, fields).read_object)


def flat_union_reader(descriptor: Descriptor, oneof: OneofDescriptor, fields_of: FieldsOf) -> Read:
    """Compiles the reader of a flat union; `fields_of` gives the readers of an arm's fields."""
    return _or_word(descriptor, _FlatUnion(descriptor, oneof, fields_of).read_object)


def _or_word(descriptor: Descriptor, read_object: Read) -> Read:
    """`read_object`, and where the union may be a bare string, that too."""
    if descriptor.full_name not in rules.STRING_MODES:
        return read_object
    coerce_mode = _mode_coercer(descriptor)

    def read(message: Any, value: object, walk: Walk) -> None:
        if type(value) is str:
            message.mode = coerce_mode(value)
        elif type(value) is dict:
            read_object(message, value, walk)
        else:
            names = ", ".join(rules.STRING_MODES[descriptor.full_name])
            raise expected(f"one of {names} or an object", value)

    return read


def _mode_coercer(descriptor: Descriptor) -> values.Coerce:
    enum = descriptor.fields_by_name[rules.MODE].enum_type
    if enum is None:
        raise TypeError(f"{descriptor.full_name}.{rules.MODE} is no enum")
    numbers = {name: number for number, name in rules.enum_names(enum).items()}
    return values.choice({name: numbers[name] for name in rules.STRING_MODES[descriptor.full_name]})


class _Union:
    """One union's arms and the fields that stand beside them."""

    def __init__(self, descriptor: Descriptor, oneof: OneofDescriptor, fields: Mapping[str, Read]) -> None:
        name = descriptor.full_name
        kinds = {arm.name: "" if arm.message_type is None else arm.message_type.full_name for arm in oneof.fields}
        self.opaque = next((arm for arm, kind in kinds.items() if kind == rules.OPAQUE), None)
        hidden = {self.opaque, rules.MODE if name in rules.STRING_MODES else None}
        self.empty = frozenset(arm for arm, kind in kinds.items() if kind == rules.EMPTY)
        self.arms = {arm: fields[arm] for arm in kinds if arm not in hidden}
        self.beside = {key: read for key, read in fields.items() if key not in kinds}
        self.untyped = name in rules.UNTYPED
        self.guess = name in rules.TYPE_OPTIONAL or self.untyped
        self.arm_optional = name in rules.ARM_OPTIONAL
        self.known = ", ".join(self.arms)

    def read_object(self, message: Any, value: object, walk: Walk) -> None:
        if type(value) is not dict:
            raise expected("an object", value)
        kind = self._kind(value, walk)
        if kind is not None and kind not in self.arms:
            self._read_opaque(message, kind, value, walk)
            return
        if kind is not None and value.get(kind) is None:
            self._arm_without_value(message, kind, walk)
        for key, item in value.items():
            if item is None or (key == "type" and not self.untyped):
                continue
            read_beside = self.beside.get(key)
            if read_beside is not None:
                walk.into(key, read_beside, message, item)
            elif key == kind and kind not in self.empty:
                walk.into(key, self.arms[key], message, item)
            elif kind is None and not self.arm_optional:
                continue  # without a kind nobody can say what belongs here; the missing kind is the problem
            elif key not in self.arms:
                walk.unknown(key)
            else:
                walk.problem(key, f'does not go with type "{kind}"; remove it')

    def _kind(self, value: dict[str, object], walk: Walk) -> str | None:
        """The `type`, or None with a problem noted, or None where no arm is needed."""
        kind = None if self.untyped else value.get("type")
        if kind is None and self.guess:
            present = [arm for arm in self.arms if value.get(arm) is not None]
            if len(present) == 1:
                return present[0]
            if not present and self.arm_optional:
                return None
        if type(kind) is str:
            if kind in self.arms or self.opaque is not None:
                return kind
            walk.problem("type", f"unknown type; expected one of {self.known}")
        elif self.untyped:
            raise InvalidValueError(f"expected an object with the field {self.known}")
        elif kind is None:
            walk.problem("type", f"missing; expected one of {self.known}")
        else:
            walk.problem("type", str(expected(f"one of {self.known}", kind)))
        return None

    def _arm_without_value(self, message: Any, kind: str, walk: Walk) -> None:
        if kind in self.empty or self.arm_optional:
            getattr(message, kind).SetInParent()
        else:
            walk.problem(kind, f'missing; type "{kind}" needs it')

    def _read_opaque(self, message: Any, kind: str, value: dict[str, object], walk: Walk) -> None:
        opaque = getattr(message, str(self.opaque))
        opaque.json = values.compact(value)
        opaque.type = kind
        # An id beside an unknown kind is still the call's id; other fields are the kind's own business.
        for key, read_beside in self.beside.items():
            if value.get(key) is not None:
                walk.into(key, read_beside, message, value[key])


class _FlatUnion:
    """One flat union: the fields of each arm by the arm's `type`, and the fields that all arms share."""

    def __init__(self, descriptor: Descriptor, oneof: OneofDescriptor, fields_of: FieldsOf) -> None:
        name = descriptor.full_name
        types = rules.arm_types(oneof)
        self.arms: dict[object, tuple[str, Mapping[str, Read]]] = {}
        self.opaque: str | None = None
        for arm in oneof.fields:
            if arm.message_type is None:
                if arm.name != rules.MODE or name not in rules.STRING_MODES:
                    raise TypeError(f"{arm.full_name} is no message: it has no fields to stand beside `type`")
            elif arm.message_type.full_name == rules.OPAQUE:
                self.opaque = arm.name
            else:
                fields = fields_of(arm.message_type, None)
                if "type" in fields or rules.extra_of(arm.message_type) is not None:
                    raise TypeError(f"{arm.full_name} has fields that can't stand beside `type`")
                self.arms[types[arm.name]] = (arm.name, fields)
        self.shared = fields_of(descriptor, oneof)
        self.defaults = rules.DEFAULT_TYPES.get(name, ())
        self.known = ", ".join(map(str, self.arms))

    def read_object(self, message: Any, value: object, walk: Walk) -> None:
        if type(value) is not dict:
            raise expected("an object", value)
        kind = value.get("type")
        if type(kind) is not str:
            kind = self._kind_without_type(value, walk)
            if kind is None:
                return
        found = self.arms.get(kind)
        if found is None:
            self._read_opaque(message, kind, value, walk)
            return
        arm, fields = found
        target = getattr(message, arm)
        target.SetInParent()
        for key, item in value.items():
            if item is None or key == "type":
                continue
            if (read := fields.get(key)) is not None:
                walk.into(key, read, target, item)
            elif (read := self.shared.get(key)) is not None:
                walk.into(key, read, message, item)
            else:
                walk.unknown(key)

    def _kind_without_type(self, value: dict[str, object], walk: Walk) -> str | None:
        """The default that fits, or None with a problem noted."""
        kind = value.get("type")
        if kind is not None:
            walk.problem("type", str(expected(f"one of {self.known}", kind)))
            return None
        present = {key for key, item in value.items() if item is not None}
        for default in self.defaults:
            if default.key in present and (not default.alone or len(present) == 1):
                return default.type
        if self.defaults:
            exceptions = " or ".join(f'"{one.key}"' + " alone" * one.alone for one in self.defaults)
            walk.problem("type", f"missing; only an object with {exceptions} may leave it out")
        else:
            walk.problem("type", f"missing; expected one of {self.known}")
        return None

    def _read_opaque(self, message: Any, kind: str, value: dict[str, object], walk: Walk) -> None:
        if self.opaque is None:
            walk.problem("type", f"unknown type; expected one of {self.known}")
            return
        opaque = getattr(message, self.opaque)
        opaque.json = values.compact(value)
        opaque.type = kind
