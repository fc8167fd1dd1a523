"""The routes by which people come in, and those of their own accounts."""

from __future__ import annotations

from allauth.account.views import reauthenticate
from allauth.mfa.base.views import authenticate
from allauth.mfa.base.views import reauthenticate as reauthenticate_by_factor
from allauth.socialaccount.providers.github.views import oauth2_callback, oauth2_login
from allauth.socialaccount.views import login_cancelled, login_error
from django.urls import include, path

from apps.dashboard import impersonation
from apps.dashboard.views import account, device, factors, invites, sign_in

urlpatterns = [
    path("sign-in", sign_in.sign_in, name="account_login"),
    path("sign-in/sent", sign_in.sent, name="sign_in_sent"),
    path("sign-in/link/<str:token>", sign_in.link, name="sign_in_link"),
    path("sign-in/password", sign_in.PasswordSignIn.as_view(), name="account_password"),
    path("sign-in/github", oauth2_login, name="github_login"),
    path("sign-in/github/callback", oauth2_callback, name="github_callback"),
    path("sign-in/cancelled", login_cancelled, name="socialaccount_login_cancelled"),
    path("sign-in/failed", login_error, name="socialaccount_login_error"),
    path("sign-in/inactive", sign_in.inactive, name="account_inactive"),
    path("sign-up", sign_in.sign_up, name="account_signup"),
    path("sign-up/github", sign_in.sign_up, name="socialaccount_signup"),
    path("sign-out", sign_in.sign_out, name="account_logout"),
    path("invites/<str:token>", invites.invite, name="invite"),
    path("impersonation", impersonation.end, name="impersonation_end"),
    path("impersonation/<str:user>", impersonation.begin, name="impersonation"),
    path("account", account.profile, name="account_profile"),
    # Names by which allauth finds its way back
    path("account/connections", account.profile, name="socialaccount_connections"),
    path("account/email", account.profile, name="account_email"),
    path("account/connections/<int:account>", account.disconnect, name="account_disconnect"),
    path("account/tokens", account.tokens, name="account_tokens"),
    path("account/tokens/<str:token>/revocation", account.revocation, name="account_revocation"),
    path("account/sessions", account.sessions, name="account_sessions"),
    path("account/reauthentication", reauthenticate, name="account_reauthenticate"),
    path("account/security", account.security, name="mfa_index"),
    path("account/security/check", authenticate, name="mfa_authenticate"),
    path("account/security/again", reauthenticate_by_factor, name="mfa_reauthenticate"),
    # before allauth's own of the same name
    path(
        "account/security/app/activate/", factors.AppActivation.as_view(), name="mfa_activate_totp"
    ),
    path("account/security/keys/add/", factors.PasskeyAddition.as_view(), name="mfa_add_webauthn"),
    path("account/security/app/", include("allauth.mfa.totp.urls")),
    path("account/security/codes/", include("allauth.mfa.recovery_codes.urls")),
    path("account/security/keys/", include("allauth.mfa.webauthn.urls")),
    path(
        "account/authorization-code/<str:code>",
        device.device_login,
        name="device_login",
    ),
]
