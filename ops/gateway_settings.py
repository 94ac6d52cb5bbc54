"""One settings block for each gateway, which opens it too: with its adapter, all a gateway needs to be served."""

from __future__ import annotations

from abc import abstractmethod
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, SecretStr

from gateways.protocol import Gateway

Seconds = Annotated[float, Field(gt=0, le=7 * 24 * 3600)]
Connections = Annotated[int, Field(gt=0, le=5000)]


class Block(BaseModel):
    """Settings that belong together, such as those of `[stripe]`."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class GatewayBlock(Block):
    """The settings of one gateway. Its field in `Settings` bears the gateway's name; without it, it is not served."""

    @abstractmethod
    def open_gateway(self) -> Gateway:
        """Make the gateway; nothing is sent. Adapters are imported here: only who uses one pays for its SDK.

        Raises:
            ValueError: a setting is none that the gateway can use; the text names no secret.
        """


class StripeSettings(GatewayBlock):
    """Stripe. Without a key the gateway is not served."""

    api_key: SecretStr
    base_url: str | None = Field(default=None, description="Only to reach a simulator.")
    connect_timeout_s: Seconds = 3.0
    read_timeout_s: Seconds = 20.0
    max_connections: Connections = 200
    webhook_secrets: tuple[SecretStr, ...] = ()

    def open_gateway(self) -> Gateway:
        """Make the gateway to Stripe."""
        from gateways.stripe import StripeGateway

        return StripeGateway(
            api_key=self.api_key.get_secret_value(),
            base_url=self.base_url,
            connect_timeout_s=self.connect_timeout_s,
            read_timeout_s=self.read_timeout_s,
            max_connections=self.max_connections,
        )


class AdyenSettings(GatewayBlock):
    """Adyen. Without a key the gateway is not served; without a live prefix it is Adyen's test platform."""

    api_key: SecretStr
    merchant_account: Annotated[str, Field(min_length=1)]
    base_url: str | None = Field(default=None, description="Only to reach a simulator.")
    live_endpoint_prefix: Annotated[str, Field(pattern=r"^[A-Za-z0-9-]+$")] | None = None
    connect_timeout_s: Seconds = 3.0
    read_timeout_s: Seconds = 20.0
    max_connections: Connections = 200
    hmac_keys: tuple[SecretStr, ...] = ()
    webhook_username: str = ""
    webhook_passwords: tuple[SecretStr, ...] = ()

    def open_gateway(self) -> Gateway:
        """Make the gateway to Adyen."""
        from gateways.adyen import AdyenGateway

        return AdyenGateway(
            api_key=self.api_key.get_secret_value(),
            merchant_account=self.merchant_account,
            base_url=self.base_url,
            live_endpoint_prefix=self.live_endpoint_prefix,
            connect_timeout_s=self.connect_timeout_s,
            read_timeout_s=self.read_timeout_s,
            max_connections=self.max_connections,
        )


class PaypalSettings(GatewayBlock):
    """PayPal. Without credentials the gateway is not served."""

    client_id: Annotated[str, Field(min_length=1)]
    client_secret: SecretStr
    base_url: str | None = Field(default=None, description="Only to reach PayPal's sandbox, or a simulator.")
    connect_timeout_s: Seconds = 3.0
    read_timeout_s: Seconds = 20.0
    max_connections: Connections = 200
    webhook_ids: tuple[str, ...] = ()
    webhook_origins: tuple[str, ...] = ()
    webhook_ca_file: Path | None = None

    def open_gateway(self) -> Gateway:
        """Make the gateway to PayPal."""
        from gateways.paypal import PaypalGateway

        return PaypalGateway(
            client_id=self.client_id,
            client_secret=self.client_secret.get_secret_value(),
            base_url=self.base_url,
            connect_timeout_s=self.connect_timeout_s,
            read_timeout_s=self.read_timeout_s,
            max_connections=self.max_connections,
        )
