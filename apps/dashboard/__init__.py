"""The pages that people see: each view translates a request, makes one call, and renders.

A page is one function, wrapped by `pages.in_environment` or `pages.in_organization`, which find out
who asks and from where, once per request. What is not the visitor's is 404. `request.htmx` chooses
between the page and its fragment; the URL holds every filter, so that each state can be linked.
docs/design.md describes the components that the templates are put together from.
"""
