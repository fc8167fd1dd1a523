"""People, the links they sign in with, their personal tokens, and the codes that get one."""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar

from django.contrib.auth.base_user import AbstractBaseUser, BaseUserManager
from django.contrib.auth.models import PermissionsMixin
from django.db import models
from django.db.models import Q
from django.db.models.functions import Lower, Now

from apps.core.ids import new_id, public_id


class UserManager(BaseUserManager["User"]):
    """Makes and finds people by e-mail address."""

    use_in_migrations = True

    def create_user(self, email: str, password: str | None = None, **fields: Any) -> User:
        """Create a person; without a password they sign in by other means."""
        user = self.model(email=email.strip().lower(), **fields)
        user.set_password(password)
        user.save(using=self._db)
        return user

    def create_superuser(self, email: str, password: str | None = None, **fields: Any) -> User:
        """Create a person who may do everything in the admin."""
        return self.create_user(
            email, password, **{"is_staff": True, "is_superuser": True, **fields}
        )

    def get_by_natural_key(self, email: str | None) -> User:
        """The person with this address, whatever its case."""
        # Not email__iexact: that compares upper case, which the unique index does not serve.
        found = self.alias(lower_email=Lower("email"))
        return found.get(lower_email=(email or "").strip().lower())


class User(AbstractBaseUser, PermissionsMixin):
    """A person."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    email = models.EmailField("e-mail address", max_length=254)
    name = models.CharField(max_length=150, blank=True)
    is_active = models.BooleanField(
        "active", default=True, help_text="Untick this instead of deleting a person."
    )
    is_staff = models.BooleanField("staff", default=False, help_text="May open this admin.")
    # People also arrive through sign-up pages of libraries, which pass no time of ours.
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    objects: ClassVar[UserManager] = UserManager()

    USERNAME_FIELD = "email"
    EMAIL_FIELD = "email"
    REQUIRED_FIELDS: ClassVar[list[str]] = []

    class Meta:
        constraints = [
            models.UniqueConstraint(
                Lower("email"),
                name="user_email_is_unique_in_any_case",
                violation_error_message="There is a person with this e-mail address already.",
            ),
        ]

    def __str__(self) -> str:
        return self.email

    def clean(self) -> None:
        super().clean()
        self.email = self.email.strip().lower()

    @property
    def public_id(self) -> str:
        return public_id("user", self.id)

    def get_full_name(self) -> str:
        return self.name or self.email

    def get_short_name(self) -> str:
        return self.name or self.email


class PersonalTokenQuerySet(models.QuerySet["PersonalToken"]):
    def usable(self, now: datetime) -> PersonalTokenQuerySet:
        return self.filter(Q(expires_at=None) | Q(expires_at__gt=now), revoked_at=None)


class PersonalToken(models.Model):
    """A secret that acts as its person; only its digest is kept."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="tokens")
    name = models.CharField(max_length=100)
    digest = models.BinaryField(max_length=32, unique=True)
    hint = models.CharField(max_length=32)
    created_at = models.DateTimeField()
    expires_at = models.DateTimeField(null=True, blank=True)
    used_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)

    objects = PersonalTokenQuerySet.as_manager()

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(expires_at=None) | Q(expires_at__gt=models.F("created_at")),
                name="personal_token_expires_after_it_is_created",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.name} ({self.hint})"


class AuthorizationCode(models.Model):
    """A command line's request to act as a person: created, approved, redeemed once."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    digest = models.BinaryField(max_length=32, unique=True)
    hint = models.CharField(max_length=32)
    client = models.CharField(max_length=200, blank=True)
    challenge = models.CharField(max_length=43, blank=True)
    user = models.ForeignKey(
        User, on_delete=models.CASCADE, null=True, blank=True, related_name="authorization_codes"
    )
    token = models.OneToOneField(
        PersonalToken,
        on_delete=models.SET_NULL,
        null=True,
        blank=True,
        related_name="authorization_code",
    )
    created_at = models.DateTimeField()
    expires_at = models.DateTimeField(db_index=True)
    approved_at = models.DateTimeField(null=True, blank=True)
    redeemed_at = models.DateTimeField(null=True, blank=True)
    denied_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(user=None, approved_at=None)
                | Q(user__isnull=False, approved_at__isnull=False),
                name="authorization_code_is_approved_by_somebody",
            ),
            models.CheckConstraint(
                condition=Q(redeemed_at=None) | Q(approved_at__isnull=False),
                name="authorization_code_is_redeemed_after_approval",
            ),
        ]

    def __str__(self) -> str:
        return self.hint


class SignInLinkQuerySet(models.QuerySet["SignInLink"]):
    def open(self, now: datetime) -> SignInLinkQuerySet:
        return self.filter(used_at=None, expires_at__gt=now)


class SignInLink(models.Model):
    """A way in for whoever reads the mail of an address: used once, within minutes."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    email = models.EmailField(max_length=254)
    digest = models.BinaryField(max_length=32, unique=True)
    sealed = models.BinaryField(editable=False)  # so that the job which mails it needs only an id
    # Of a secret that only the browser which asked has; empty when none asked.
    browser = models.BinaryField(max_length=32)
    # Decided when the link was asked for, by whoever knows of invites.
    may_sign_up = models.BooleanField(default=False)
    next_path = models.CharField(max_length=500, blank=True)
    user_agent = models.CharField(max_length=200, blank=True)
    ip = models.GenericIPAddressField("IP address", null=True, blank=True)
    created_at = models.DateTimeField()
    expires_at = models.DateTimeField(db_index=True)
    sent_at = models.DateTimeField(null=True, blank=True)
    used_at = models.DateTimeField(null=True, blank=True)

    objects = SignInLinkQuerySet.as_manager()

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(expires_at__gt=models.F("created_at")),
                name="sign_in_link_expires_after_it_is_created",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.email}, {self.created_at:%Y-%m-%d %H:%M}"

    @property
    def seal_context(self) -> str:
        """Binds the sealed token to this row, so that it opens nowhere else."""
        return f"sign-in-link:{self.id}"
