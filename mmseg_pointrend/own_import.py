"""Having configs import this package wherever they are loaded."""

from mmengine.config import Config


def with_own_import(cfg: Config) -> list[str]:
    """What a config imports, and this package, which registers what the config names.

    Args:
        cfg (Config): A config, with ``custom_imports`` or without.

    Returns:
        list[str]: Names of modules, sorted.
    """
    imports = (cfg.get("custom_imports") or {}).get("imports", [])
    return sorted({*([imports] if isinstance(imports, str) else imports), __package__})


def import_wherever_loaded(cfg: Config) -> None:
    """Have a config that names parts of this package import it.

    MMEngine writes the config of a run into its work dir, for others to load.

    Args:
        cfg (Config): The config; changed in place.
    """
    before = cfg.get("custom_imports") or dict(allow_failed_imports=False)
    cfg.custom_imports = dict(before, imports=with_own_import(cfg))
