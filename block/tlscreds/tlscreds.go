// Package tlscreds is the X.509 credentials of TLS connections, in the files and under the
// names of QEMU's tls-creds-x509 objects.
//
// Credentials do not change once they are loaded and may be used from any goroutine. File
// names are those of QEMU's documentation: ca-cert.pem, ca-crl.pem, and
// {server,client}-{cert,key}.pem. There are no pre-shared keys: crypto/tls has none.
// It depends on qmp/strerror.
package tlscreds

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"

	"hv/qmp/strerror"
)

// Config says where credentials are and what for.
type Config struct {
	Dir        string
	Server     bool // for those who are connected to, not those who connect
	VerifyPeer bool
	// Unchecked credentials are taken even if they are out of date.
	Unchecked bool
}

// Creds is loaded credentials.
type Creds struct {
	cfg     Config
	roots   *x509.CertPool
	revoked []*x509.RevocationList
	own     []tls.Certificate
}

// maxFile bounds what is read of a file of certificates.
const maxFile = 4 << 20

// Load reads credentials.
func Load(cfg Config) (*Creds, error) {
	if cfg.Dir == "" {
		return nil, errors.New("Missing 'dir' property value")
	}
	c := &Creds{cfg: cfg, roots: x509.NewCertPool()}
	ca, err := c.read("ca-cert.pem", true)
	if err != nil {
		return nil, err
	}
	if !c.roots.AppendCertsFromPEM(ca) {
		return nil, fmt.Errorf("Cannot load CA certificate '%s': no certificate in it", c.path("ca-cert.pem"))
	}
	role := "client"
	if cfg.Server {
		role = "server"
	}
	if err := c.loadOwn(role); err != nil {
		return nil, err
	}
	return c, c.loadRevoked()
}

func (c *Creds) path(name string) string { return filepath.Join(c.cfg.Dir, name) }

// read returns a file's content, nothing if it is not there and need not be.
func (c *Creds) read(name string, needed bool) ([]byte, error) {
	st, err := os.Stat(c.path(name))
	switch {
	case err == nil && st.Size() > maxFile:
		return nil, fmt.Errorf("'%s' is too large", c.path(name))
	case err == nil:
		return os.ReadFile(c.path(name))
	case needed || !errors.Is(err, os.ErrNotExist):
		return nil, fmt.Errorf("Unable to access credentials %s: %s", c.path(name), strerror.Text(err))
	}
	return nil, nil
}

// loadOwn reads the certificate to show, which a client may have none of.
func (c *Creds) loadOwn(role string) error {
	cert, err := c.read(role+"-cert.pem", c.cfg.Server)
	if err != nil || cert == nil {
		return err
	}
	key, err := c.read(role+"-key.pem", true)
	if err != nil {
		return err
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return fmt.Errorf("Cannot load certificate '%s' & key '%s': %w", c.path(role+"-cert.pem"), c.path(role+"-key.pem"), err)
	}
	c.own = append(c.own, pair)
	if now := time.Now(); !c.cfg.Unchecked {
		switch leaf := pair.Leaf; {
		case now.After(leaf.NotAfter):
			return fmt.Errorf("The %s certificate %s has expired", role, c.path(role+"-cert.pem"))
		case now.Before(leaf.NotBefore):
			return fmt.Errorf("The %s certificate %s is not yet active", role, c.path(role+"-cert.pem"))
		}
	}
	return nil
}

// loadRevoked reads which certificates are no longer good.
func (c *Creds) loadRevoked() error {
	b, err := c.read("ca-crl.pem", false)
	if err != nil {
		return err
	}
	for block, rest := pem.Decode(b); block != nil; block, rest = pem.Decode(rest) {
		list, err := x509.ParseRevocationList(block.Bytes)
		if err != nil {
			return fmt.Errorf("Cannot load CRL '%s': %w", c.path("ca-crl.pem"), err)
		}
		c.revoked = append(c.revoked, list)
	}
	return nil
}

// Check returns an error if the credentials are for the other end.
func (c *Creds) Check(server bool) error {
	if c.cfg.Server == server {
		return nil
	}
	end := "client"
	if server {
		end = "server"
	}
	return fmt.Errorf("Expected TLS credentials for a %s endpoint", end)
}

// patience is how long a handshake may take.
const patience = 30 * time.Second

// Accept is the server's side of a handshake. allow, if not nil, decides by the name in the
// client's certificate.
func (c *Creds) Accept(conn net.Conn, allow func(name string) bool) (net.Conn, error) {
	cfg := &tls.Config{Certificates: c.own, ClientCAs: c.roots, MinVersion: tls.VersionTLS12}
	if c.cfg.VerifyPeer || allow != nil {
		cfg.ClientAuth = tls.RequireAndVerifyClientCert
	}
	cfg.VerifyConnection = func(s tls.ConnectionState) error {
		if err := c.current(s.PeerCertificates); err != nil || allow == nil {
			return err
		}
		if name := Name(s.PeerCertificates[0]); !allow(name) {
			return fmt.Errorf("TLS x509 authz check for %s is denied", name)
		}
		return nil
	}
	return shake(conn, tls.Server(conn, cfg))
}

// Connect is the client's side of a handshake. host is what the server's certificate must be
// for.
func (c *Creds) Connect(conn net.Conn, host string) (net.Conn, error) {
	if host == "" && c.cfg.VerifyPeer {
		return nil, errors.New("No hostname for certificate validation")
	}
	cfg := &tls.Config{Certificates: c.own, RootCAs: c.roots, ServerName: host, MinVersion: tls.VersionTLS12, InsecureSkipVerify: !c.cfg.VerifyPeer}
	cfg.VerifyConnection = func(s tls.ConnectionState) error { return c.current(s.PeerCertificates) }
	return shake(conn, tls.Client(conn, cfg))
}

func shake(conn net.Conn, t *tls.Conn) (net.Conn, error) {
	_ = conn.SetDeadline(time.Now().Add(patience))
	if err := t.Handshake(); err != nil {
		return nil, fmt.Errorf("TLS handshake failed: %w", err)
	}
	return t, conn.SetDeadline(time.Time{})
}

// current returns an error if a certificate was revoked.
func (c *Creds) current(chain []*x509.Certificate) error {
	for _, cert := range chain {
		for _, list := range c.revoked {
			for _, r := range list.RevokedCertificateEntries {
				if string(list.RawIssuer) == string(cert.RawIssuer) && r.SerialNumber.Cmp(cert.SerialNumber) == 0 {
					return errors.New("the certificate has been revoked")
				}
			}
		}
	}
	return nil
}

// Name returns whom a certificate is of, as objects that authorize write it: from the
// last part of the name to the first.
func Name(cert *x509.Certificate) string { return cert.Subject.String() }
