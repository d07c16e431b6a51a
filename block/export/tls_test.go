package export

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"hv/block/graph"
	"hv/block/nbddrv"
	"hv/block/nbdproto"
	"hv/block/tlscreds"
	"hv/qmp/qapi"
)

// authority makes certificates.
type authority struct {
	t    testing.TB
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	next int64
}

func newAuthority(t testing.TB) *authority {
	a := &authority{t: t, next: 1}
	a.cert, a.key = a.make(&x509.Certificate{IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign, Subject: pkix.Name{CommonName: "ca"}})
	return a
}

func (a *authority) make(c *x509.Certificate) (*x509.Certificate, *ecdsa.PrivateKey) {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	c.SerialNumber, c.NotBefore = big.NewInt(a.next), time.Now().Add(-time.Hour)
	if c.NotAfter.IsZero() {
		c.NotAfter = time.Now().Add(time.Hour)
	}
	a.next++
	parent, signer := a.cert, a.key
	if parent == nil {
		parent, signer = c, key
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, &key.PublicKey, signer)
	if err != nil {
		a.t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		a.t.Fatal(err)
	}
	return cert, key
}

func write(t testing.TB, path, kind string, der []byte) {
	t.Helper()
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
}

// folder makes a folder of credentials, as certtool's users have them.
func (a *authority) folder(role string, name pkix.Name, until time.Time) (string, *x509.Certificate) {
	a.t.Helper()
	dir := a.t.TempDir()
	usage := x509.ExtKeyUsageClientAuth
	if role == "server" {
		usage = x509.ExtKeyUsageServerAuth
	}
	cert, key := a.make(&x509.Certificate{
		Subject: name, KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{usage}, NotAfter: until,
		DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	})
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		a.t.Fatal(err)
	}
	write(a.t, filepath.Join(dir, "ca-cert.pem"), "CERTIFICATE", a.cert.Raw)
	write(a.t, filepath.Join(dir, role+"-cert.pem"), "CERTIFICATE", cert.Raw)
	write(a.t, filepath.Join(dir, role+"-key.pem"), "PRIVATE KEY", der)
	return dir, cert
}

func load(t testing.TB, c tlscreds.Config) *tlscreds.Creds {
	t.Helper()
	creds, err := tlscreds.Load(c)
	if err != nil {
		t.Fatal(err)
	}
	return creds
}

func TestTLS(t *testing.T) {
	ca, other := newAuthority(t), newAuthority(t)
	name := pkix.Name{CommonName: "client one", Organization: []string{"Makers, of things"}, Country: []string{"XX"}}
	serverDir, _ := ca.folder("server", pkix.Name{CommonName: "server"}, time.Time{})
	clientDir, cert := ca.folder("client", name, time.Time{})
	strangerDir, _ := other.folder("client", name, time.Time{})
	r := newRig(t)
	r.file("f", 1<<20, graph.Options{})
	r.creds["tls0"] = load(t, tlscreds.Config{Dir: serverDir, Server: true, VerifyPeer: true})
	r.creds["client"] = load(t, tlscreds.Config{Dir: clientDir, VerifyPeer: true})
	r.refused(r.StartNBD(ServerConfig{Addr: r.address(), Creds: text("client")}), "Expected TLS credentials for a server endpoint")
	r.refused(r.StartNBD(ServerConfig{Addr: r.address(), Creds: text("tls1")}), "No TLS credentials with id 'tls1'")
	r.start(ServerConfig{Creds: text("tls0"), Authz: text("authz")})
	r.export("e", "f")
	open := func(dir, host string) error {
		creds := load(t, tlscreds.Config{Dir: dir, VerifyPeer: true})
		d, err := nbddrv.Open(nbddrv.Config{Server: r.address(), Export: "f", Creds: creds, Hostname: host, Log: func(error) {}})
		if err != nil {
			return err
		}
		b := bytes.Repeat([]byte{3}, 300<<10)
		got := make([]byte, len(b))
		err = errors.Join(d.Writev(0, [][]byte{b}, 0), d.Readv(0, [][]byte{got}), d.Close())
		if !bytes.Equal(b, got) {
			t.Error("other data")
		}
		return err
	}
	if err := open(clientDir, "localhost"); err == nil {
		t.Error("somebody came in whom nobody lets in")
	}
	r.who.Store(tlscreds.Name(cert))
	r.must(open(clientDir, "localhost"))
	r.refused(open(clientDir, ""), "No hostname for certificate validation")
	if err := open(clientDir, "elsewhere"); err == nil || !strings.Contains(err.Error(), "elsewhere") {
		t.Errorf("%v", err)
	}
	if err := open(strangerDir, "localhost"); err == nil {
		t.Error("a stranger came in")
	}
	plain, err := nbddrv.Open(nbddrv.Config{Server: r.address(), Export: "f", Log: func(error) {}})
	if err == nil {
		t.Error("a client without TLS came in", plain)
	}
	// The name of who comes in is as GnuTLS writes it, and others' clients get in.
	out := tool(t, "certtool", "--infile", filepath.Join(clientDir, "client-cert.pem"), "-i")
	if !strings.Contains(out, "Subject: "+tlscreds.Name(cert)+"\n") {
		t.Errorf("%s is not in %s", tlscreds.Name(cert), out)
	}
	args := []string{"--object", "tls-creds-x509,id=t,endpoint=client,dir=" + clientDir, "--image-opts"}
	image := "driver=nbd,server.type=unix,server.path=" + r.socket + ",export=f,tls-creds=t,tls-hostname=localhost"
	if out := tool(t, "qemu-io", append(args, "-c", "read -P 3 0 300k", "-c", "write -P 4 0 1M", image)...); strings.Contains(out, "fail") {
		t.Error(out)
	}
	if out, err := exec.Command("qemu-io", "-f", "raw", "-c", "read 0 1", r.uri("f")).CombinedOutput(); err == nil || !strings.Contains(string(out), "TLS negotiation required") {
		t.Errorf("%s", out)
	}
}

func TestCredentials(t *testing.T) {
	ca := newAuthority(t)
	dir, cert := ca.folder("server", pkix.Name{CommonName: "s"}, time.Time{})
	old, _ := ca.folder("server", pkix.Name{CommonName: "s"}, time.Now().Add(-time.Minute))
	refused := func(c tlscreds.Config, want string) {
		t.Helper()
		if _, err := tlscreds.Load(c); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
	refused(tlscreds.Config{}, "Missing 'dir' property value")
	refused(tlscreds.Config{Dir: "/none"}, "Unable to access credentials /none/ca-cert.pem: No such file or directory")
	refused(tlscreds.Config{Dir: old, Server: true}, "The server certificate "+old+"/server-cert.pem has expired")
	load(t, tlscreds.Config{Dir: old, Server: true, Unchecked: true})
	load(t, tlscreds.Config{Dir: dir}) // a client need not show who it is
	list, err := x509.CreateRevocationList(rand.Reader, &x509.RevocationList{
		Number: big.NewInt(1), ThisUpdate: time.Now(), NextUpdate: time.Now().Add(time.Hour),
		RevokedCertificateEntries: []x509.RevocationListEntry{{SerialNumber: cert.SerialNumber, RevocationTime: time.Now()}},
	}, ca.cert, ca.key)
	if err != nil {
		t.Fatal(err)
	}
	server := load(t, tlscreds.Config{Dir: dir, Server: true})
	write(t, filepath.Join(dir, "ca-crl.pem"), "X509 CRL", list)
	client := load(t, tlscreds.Config{Dir: dir, VerifyPeer: true})
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		if a, err := l.Accept(); err == nil {
			_, _ = server.Accept(a, nil)
			a.Close()
		}
	}()
	b, err := net.Dial("unix", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.Connect(b, "localhost"); err == nil || !strings.Contains(err.Error(), "revoked") {
		t.Errorf("%v", err)
	}
	b.Close()
	for _, file := range []string{"ca-crl.pem", "server-key.pem", "ca-cert.pem"} {
		write(t, filepath.Join(dir, file), "X509 CRL", []byte{0})
		refused(tlscreds.Config{Dir: dir, Server: true}, file)
	}
}

// TestConnections lets only so many clients in at once.
func TestConnections(t *testing.T) {
	r := newRig(t)
	r.file("f", 1<<20, graph.Options{})
	r.start(ServerConfig{MaxConnections: 1})
	r.export("e", "f")
	d := r.client("f")
	c, err := net.Dial("unix", r.socket)
	r.must(err)
	r.must(c.SetReadDeadline(time.Now().Add(50 * time.Millisecond)))
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a second client was let in: %v", err)
	}
	r.must(d.Close())
	r.must(c.SetReadDeadline(time.Time{}))
	o, err := nbdproto.Connect(c, nbdproto.Wish{Export: "f"})
	r.must(err)
	if o.Flags&nbdproto.CanMultiConn != 0 {
		t.Error("one connection is several")
	}
	// What negotiates still, or is connected, does not hold the end up.
	r.must(r.StopNBD())
	r.must(c.Close())
}

// layer has only its first half.
type layer struct {
	size int64
}

func (l *layer) Size() int64                               { return l.size }
func (l *layer) Readv(int64, [][]byte) error               { return nil }
func (l *layer) Writev(int64, [][]byte, graph.Flags) error { return nil }
func (l *layer) Flush() error                              { return nil }
func (l *layer) Close() error                              { return nil }
func (l *layer) BlockStatus(off, n int64) (graph.Extent, error) {
	if off < l.size/2 {
		return graph.Extent{N: min(n, l.size/2-off), Status: graph.Allocated | graph.Data}, nil
	}
	return graph.Extent{N: n}, nil
}

// TestDepth tells which node of a chain has the data.
func TestDepth(t *testing.T) {
	r := newRig(t)
	open := func(size int64) func([]*graph.Child) (graph.Driver, error) {
		return func([]*graph.Child) (graph.Driver, error) { return &layer{size: size}, nil }
	}
	bottom := r.node("bottom", graph.Options{}, open(12<<20))
	r.node("top", graph.Options{}, open(16<<20), graph.Edge{Name: "backing", Role: graph.Backing, Node: bottom})
	r.start(ServerConfig{})
	r.must(r.Add(&qapi.BlockExportOptions{Type: qapi.BlockExportTypeNbd, Id: "e", NodeName: "top", Nbd: &qapi.BlockExportOptionsNbd{AllocationDepth: yes()}}))
	out := strings.Join(strings.Fields(tool(t, "nbdinfo", "--map=qemu:allocation-depth", r.uri("top"))), " ")
	if want := "0 8388608 1 local 8388608 4194304 0 absent 12582912 4194304 2 backing depth 2"; out != want {
		t.Error(out)
	}
	out = strings.Join(strings.Fields(tool(t, "nbdinfo", "--map", r.uri("top"))), " ")
	if want := "0 8388608 0 data 8388608 8388608 3 hole,zero"; out != want {
		t.Error(out)
	}
}
