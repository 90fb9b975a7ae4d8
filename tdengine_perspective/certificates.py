"""Owns the trust in TDengine's certificate: which authorities vouch for it, and what is wrong with one.

Two check it, each with its own library: Python where TDengine is asked over REST, and the driver. The driver
by itself takes any certificate; it checks one, as this system's own programs do, only where it is given the
authorities.
"""

import ssl

# OpenSSL's numbers of what can be wrong.
NOT_YET_VALID, EXPIRED = 9, 10
OTHER_NAME = (62, 64)  # than the host's name, than its address


class CertificateFileError(ValueError):
    """A file that holds no authority's certificate: why, in one line."""


def tls_context(file: str) -> ssl.SSLContext:
    """For a client that trusts the authorities in the file, "" for those that this system trusts.

    Raises CertificateFileError.
    """
    try:
        context = ssl.create_default_context(cafile=file or None)
    except ssl.SSLError:
        raise CertificateFileError(f"TAOS_CA: {file} holds no certificate in the form PEM") from None
    except OSError as error:
        raise CertificateFileError(f"TAOS_CA: can't read {file}: {error.strerror}") from None
    context.hostname_checks_common_name = False  # as the driver
    return context


def authorities(file: str) -> str:
    """The same as text in PEM, for the driver. Raises CertificateFileError."""
    certificates = tls_context(file).get_ca_certs(binary_form=True)
    if not certificates and file:
        raise CertificateFileError(f"TAOS_CA: {file} holds no certificate of an authority")
    if not certificates:
        raise CertificateFileError("this system keeps its authorities in no file: name one in TAOS_CA")
    return "".join(map(ssl.DER_cert_to_PEM_cert, certificates))


def describe_mistrust(error: ssl.SSLCertVerificationError, file: str) -> str:
    """What is wrong with the certificate, and what to do."""
    if error.verify_code in OTHER_NAME:
        return "is for another host: call it by a name that the certificate has"
    if error.verify_code == EXPIRED:
        return "has expired: renew it there"
    if error.verify_code == NOT_YET_VALID:
        return "is not valid yet: set this machine's clock"
    if file:
        return f"is of none of the authorities in TAOS_CA ({error.verify_message})"
    return f"is of no authority that this system trusts: name its file in TAOS_CA ({error.verify_message})"
