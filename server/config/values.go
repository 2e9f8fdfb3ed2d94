package config

import (
	"maps"
	"strings"
	"time"
)

// Values is one state of the whole configuration. It never changes once it was handed out.
//
// Sizes are bytes; 0 means "no bound" unless the directive's description says otherwise.
type Values struct {
	// Network.
	Port                   int
	Bind                   []string // a leading "-" marks an address that may be missing; "*" and "::*" are any address
	ProtectedMode          bool
	UnixSocket             string // "" is none
	UnixSocketPerm         uint32 // 0: as the umask says
	Timeout                time.Duration
	TCPKeepAlive           time.Duration
	TCPBacklog             int
	MaxClients             int64
	ProtoMaxBulkLen        int64
	ClientQueryBufferLimit int64
	OutputLimits           [numClasses]OutputLimit // by ClientClass
	IOThreads              int                     // event loops; 0: one per core
	TLS                    TLS

	// Who may do what.
	RequirePass            string
	RenameCommands         []Rename // in the file's order
	EnableDebugCommand     Access
	EnableProtectedConfigs Access

	// Data, memory and disk.
	Dir                string // absolute
	Databases          int
	MaxMemory          MemorySize
	MaxMemoryPolicy    Policy
	MaxMemorySamples   int
	Overflow           bool
	MaxDisk            int64
	LFULogFactor       int
	LFUDecayTime       int // minutes
	HZ                 int
	DynamicHZ          bool
	ActiveExpireEffort int

	Cluster Cluster

	// What OBJECT ENCODING says.
	HashMaxListpackEntries int64
	HashMaxListpackValue   int64 // bytes
	SetMaxIntsetEntries    int64
	ZSetMaxListpackEntries int64
	ZSetMaxListpackValue   int64 // bytes

	// Log and checkpoints.
	AppendFsync             Fsync
	AppendOnly              bool // always true
	Save                    []SavePoint
	CheckpointInterval      time.Duration
	CheckpointLogBytes      int64
	LogSegmentSize          int64
	StopWritesOnBgsaveError bool

	// Running and watching.
	LogLevel                LogLevel
	LogFile                 string // "" is standard output
	LogFormat               LogFormat
	PIDFile                 string
	Daemonize               bool // always false
	ShutdownTimeout         time.Duration
	ShutdownOnSigterm       ShutdownOptions
	ShutdownOnSigint        ShutdownOptions
	SlowlogLogSlowerThan    int64 // microseconds; -1: never, 0: all
	SlowlogMaxLen           int64
	LatencyMonitorThreshold int64 // milliseconds; 0: off
	BusyReplyThreshold      int64 // milliseconds
	NotifyKeyspaceEvents    NotifyClass

	// inert holds the directives without effect, by name, as CONFIG GET shows them.
	inert map[string]string
}

// TLS is what the tls-* directives say.
type TLS struct {
	Port                int // 0 is off
	CertFile            string
	KeyFile             string
	KeyFilePass         string
	CACertFile          string
	CACertDir           string
	AuthClients         TLSAuth
	Protocols           string // words of TLSv1, TLSv1.1, TLSv1.2, TLSv1.3; "": Go's default
	Ciphers             string
	CipherSuites        string
	PreferServerCiphers bool
	SessionCaching      bool
}

// Cluster is what concerns the other nodes.
type Cluster struct {
	Enabled            bool
	Join               string // host:port of a member, for clients; "": found a cluster
	Port               int    // 0: Values.Port + 10000; -1: none
	Secret             string
	TLS                bool
	Zone               string
	AnnounceIP         string // "": found out
	AnnouncePort       int    // 0: Values.Port
	AnnounceBusPort    int    // 0: Port
	Shards             int    // of a new cluster
	Replicas           int    // of a new cluster
	ReplaceAfter       time.Duration
	AdminPort          int // 0: Values.Port + 1000; -1: none
	AdminBind          string
	AdminToken         string
	SentinelMasterName string
}

func (v *Values) clone() *Values {
	c := *v
	c.inert = maps.Clone(v.inert)
	return &c
}

// Access tells who may use something dangerous.
type Access int

const (
	AccessNo Access = iota
	AccessYes
	AccessLocal // connections over loopback or a Unix socket
)

// Allows says whether a connection, local or not, may.
func (a Access) Allows(local bool) bool { return a == AccessYes || a == AccessLocal && local }

// Fsync is appendfsync: when the log is synced.
type Fsync int

const (
	FsyncAlways Fsync = iota
	FsyncEverySec
	FsyncNo
)

// Policy is maxmemory-policy: which keys go when data must be evicted.
type Policy int

const (
	NoEviction Policy = iota
	VolatileLRU
	VolatileLFU
	VolatileRandom
	VolatileTTL
	AllKeysLRU
	AllKeysLFU
	AllKeysRandom
)

// LogLevel is loglevel, most talkative first.
type LogLevel int

const (
	LogDebug LogLevel = iota
	LogVerbose
	LogNotice
	LogWarning
)

// LogFormat is log-format.
type LogFormat int

const (
	LogText LogFormat = iota
	LogJSON
)

// TLSAuth is tls-auth-clients: whether clients must show a certificate.
type TLSAuth int

const (
	TLSAuthYes TLSAuth = iota
	TLSAuthNo
	TLSAuthOptional
)

var (
	accessKind = choice[Access]{{"no", AccessNo}, {"yes", AccessYes}, {"local", AccessLocal}}
	fsyncKind  = choice[Fsync]{{"everysec", FsyncEverySec}, {"always", FsyncAlways}, {"no", FsyncNo}}
	policyKind = choice[Policy]{
		{"volatile-lru", VolatileLRU}, {"volatile-lfu", VolatileLFU}, {"volatile-random", VolatileRandom},
		{"volatile-ttl", VolatileTTL}, {"allkeys-lru", AllKeysLRU}, {"allkeys-lfu", AllKeysLFU},
		{"allkeys-random", AllKeysRandom}, {"noeviction", NoEviction},
	}
	logLevelKind = choice[LogLevel]{
		{"debug", LogDebug}, {"verbose", LogVerbose}, {"notice", LogNotice}, {"warning", LogWarning},
	}
	logFormatKind = choice[LogFormat]{{"text", LogText}, {"json", LogJSON}}
	tlsAuthKind   = choice[TLSAuth]{{"no", TLSAuthNo}, {"yes", TLSAuthYes}, {"optional", TLSAuthOptional}}
)

func (f Fsync) String() string     { return fsyncKind.show(f) }
func (p Policy) String() string    { return policyKind.show(p) }
func (l LogLevel) String() string  { return logLevelKind.show(l) }
func (f LogFormat) String() string { return logFormatKind.show(f) }

// Versions returns the protocol versions that Protocols names, as redis.conf spells them; none means the default.
func (t TLS) Versions() []string {
	var versions []string
	for _, known := range tlsVersions {
		for _, word := range strings.Fields(t.Protocols) {
			if strings.EqualFold(word, known) {
				versions = append(versions, known)
				break
			}
		}
	}
	return versions
}
