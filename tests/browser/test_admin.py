"""The staff's pages in a browser: they work under what the browser enforces."""

from tests import factories


def test_a_stranger_is_asked_to_sign_in(visitor):
    visitor.expected.append("favicon.ico")

    page = visitor.goto("/admin/")

    assert page.get_by_label("E-mail address").is_visible()


def test_staff_reaches_the_projects_by_the_keyboard(visitor):
    alice = factories.alice()
    alice.is_staff = alice.is_superuser = True
    alice.save(update_fields=["is_staff", "is_superuser"])
    visitor.sign_in(alice)
    visitor.expected.append("favicon.ico")

    page = visitor.goto("/admin/")
    page.locator(".model-project").get_by_role("link", name="Projects").focus()
    page.keyboard.press("Enter")

    page.wait_for_url("**/admin/projects/project/")
