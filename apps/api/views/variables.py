"""Variables of an environment, and everything its processes get."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from drf_spectacular.utils import OpenApiExample, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from apps.api.access import accepts
from apps.api.endpoint import Endpoint, read
from apps.api.schema import errors
from apps.api.serializers.environments import (
    RuntimeVariablesShape,
    SuccessShape,
    VariableBody,
    VariablesBody,
    VariableShape,
    VariableValueBody,
)
from apps.core.errors import NotFound
from apps.environments import queries
from apps.environments.errors import VariablesInvalid
from apps.environments.operations import variables as operations

_VARIABLE = VariableBody()
_VARIABLES = VariablesBody()
_VALUE = VariableValueBody()
_DONE = {"success": True}


class VariableList(Endpoint):
    """The variables of an environment."""

    body_limit = 256 * 1024

    @extend_schema(
        operation_id="list_variables",
        summary="List variables; secrets have no value",
        responses={200: VariableShape(many=True), **errors(401, 404)},
    )
    @accepts(person=True)
    def get(self, request: Request, ref: str, env: str) -> Response:
        found = queries.list_variables(self.scope_in(ref, env))
        return Response([_shape(variable) for variable in found])

    @extend_schema(
        operation_id="create_variable",
        summary="Add a variable, or replace it",
        request=VariableBody,
        responses={200: SuccessShape, **errors(400, 401, 404)},
        examples=[
            OpenApiExample(
                "Secret",
                value={"name": "DATABASE_PASSWORD", "value": "correct horse", "isSecret": True},
                request_only=True,
            )
        ],
    )
    @accepts(person=True)
    def post(self, request: Request, ref: str, env: str) -> Response:
        body = read(_VARIABLE, request.data)
        with _problems_as_400():
            operations.set_variable(
                self.scope_in(ref, env),
                name=body["name"],
                value=body["value"],
                is_secret=body.get("isSecret"),
                now=self.now,
            )
        return Response(_DONE)


class VariableImport(Endpoint):
    """Many variables at once."""

    body_limit = 16 * 1024 * 1024

    @extend_schema(
        operation_id="import_variables",
        summary="Add many variables, all or none",
        request=VariablesBody,
        responses={200: SuccessShape, **errors(400, 401, 404, 413)},
    )
    @accepts(person=True)
    def post(self, request: Request, ref: str, env: str) -> Response:
        body = read(_VARIABLES, request.data)
        with _problems_as_400():
            operations.import_variables(
                self.scope_in(ref, env),
                variables={**body.get("parentVariables", {}), **body["variables"]},
                is_secret=body.get("isSecret"),
                override=body.get("override", False),
                now=self.now,
            )
        return Response(_DONE)


class VariableDetail(Endpoint):
    """One variable."""

    body_limit = 256 * 1024

    @extend_schema(
        operation_id="retrieve_variable",
        summary="Retrieve a variable; a secret has no value",
        responses={200: VariableShape, **errors(401, 404)},
    )
    @accepts(person=True)
    def get(self, request: Request, ref: str, env: str, name: str) -> Response:
        return Response(_shape(queries.get_variable(self.scope_in(ref, env), name)))

    @extend_schema(
        operation_id="update_variable",
        summary="Change a variable's value",
        request=VariableValueBody,
        responses={200: SuccessShape, **errors(400, 401, 404)},
    )
    @accepts(person=True)
    def put(self, request: Request, ref: str, env: str, name: str) -> Response:
        scope, value = self.scope_in(ref, env), read(_VALUE, request.data)["value"]
        queries.get_variable(scope, name)
        with _problems_as_400():
            operations.set_variable(scope, name=name, value=value, now=self.now)
        return Response(_DONE)

    @extend_schema(
        operation_id="delete_variable",
        summary="Remove a variable",
        responses={200: SuccessShape, **errors(401, 404)},
    )
    @accepts(person=True)
    def delete(self, request: Request, ref: str, env: str, name: str) -> Response:
        operations.delete_variable(self.scope_in(ref, env), name=name, now=self.now)
        return Response(_DONE)


class RuntimeVariables(Endpoint):
    """What a process of this environment gets."""

    @extend_schema(
        operation_id="retrieve_runtime_variables",
        summary="Retrieve every variable of the key's environment, in clear",
        responses={200: RuntimeVariablesShape, **errors(401, 404)},
    )
    def get(self, request: Request, ref: str) -> Response:
        environment = queries.get_environment(self.scope)
        if environment.project.ref != ref:
            raise NotFound("This key is for another project")
        return Response({"variables": queries.runtime_variables(environment)})


class VariablesRefused(VariablesInvalid):
    """Some variables cannot be kept"""

    status = 400  # and not the domain's 422: clients look for `variableErrors` in a 400

    @property
    def extra(self) -> dict[str, object]:
        """The reasons once more, under the name that clients look for."""
        return {
            "variableErrors": [
                {"key": name, "error": "; ".join(reasons)} for name, reasons in self.detail.items()
            ]
        }


@contextmanager
def _problems_as_400() -> Iterator[None]:
    try:
        yield
    except VariablesInvalid as error:
        raise VariablesRefused(error.message, detail=error.detail) from None


def _shape(variable: queries.VisibleVariable) -> dict[str, object]:
    return {
        "name": variable.name,
        "value": variable.value or "",
        "isSecret": variable.is_secret,
    }
