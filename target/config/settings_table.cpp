#include "target/config/settings_table.hpp"

#include <algorithm>
#include <array>
#include <cctype>

namespace mpath::target {
namespace {

using enum SettingType;

constexpr std::int64_t hour_ms = 3600'000;
constexpr std::int64_t segment_most = (1 << 24) - 1;

constexpr std::array rows{
    Setting{.section = "global", .key = "shards", .type = integer, .fallback = "0", .least = 0, .most = 64,
            .doc = "I/O threads; 0: the cores, at most 4. Takes effect at the next start"},
    Setting{.section = "global", .key = "login_stage_timeout", .type = duration, .fallback = "15s", .least = 100,
            .most = hour_ms, .doc = "how long a login may be silent"},
    Setting{.section = "global", .key = "login_timeout", .type = duration, .fallback = "30s", .least = 100,
            .most = hour_ms, .doc = "how long a login may take altogether"},
    Setting{.section = "global", .key = "half_open_max", .type = integer, .fallback = "256", .least = 1, .most = 65536,
            .doc = "logins under way at a time"},
    Setting{.section = "global", .key = "chap_failures_max", .type = integer, .fallback = "5", .least = 1,
            .most = 1000, .doc = "failed authentications in a row before an initiator is locked out"},
    Setting{.section = "global", .key = "chap_lockout", .type = duration, .fallback = "30s", .least = 0,
            .most = hour_ms, .doc = "for how long it is locked out"},

    Setting{.section = "discovery", .key = "incoming_user", .type = text,
            .doc = "USER [SECRET]: who may discover; without SECRET that of an account section", .repeatable = true, .secret = true},
    Setting{.section = "discovery", .key = "outgoing_user", .type = text,
            .doc = "USER [SECRET]: who we are when the initiator asks", .secret = true},
    Setting{.section = "discovery", .key = "chap_algorithms", .type = text, .fallback = "SHA3-256,SHA256,SHA1,MD5",
            .doc = "allowed digests of CHAP, the best first"},

    Setting{.section = "account", .key = "secret", .type = text,
            .doc = "12 bytes at least; 0x... and 0b... are binary", .secret = true},
    Setting{.section = "account", .key = "secret_file", .type = text,
            .doc = "a file that holds the secret and that only its owner may read"},

    Setting{.section = "portal_group", .key = "portal", .type = text,
            .doc = "ADDRESS[:PORT] to listen on, IPv6 in brackets", .repeatable = true},
    Setting{.section = "portal_group", .key = "peer", .type = yes_no, .fallback = "no",
            .doc = "another node's portals: listed in discovery, not served here"},
    Setting{.section = "portal_group", .key = "alua_group", .type = integer, .least = 1, .most = 65535,
            .doc = "the target port group of ALUA; the tag when it is not given"},
    Setting{.section = "portal_group", .key = "relative_id", .type = integer, .least = 1, .most = 65535,
            .doc = "the relative target port identifier; the tag when it is not given"},

    Setting{.section = "lu", .key = "path", .type = text, .doc = "the file or block device"},
    Setting{.section = "lu", .key = "type", .type = word, .fallback = "file", .words = "file|block|ram|null",
            .doc = "null reads zeroes and forgets what is written"},
    Setting{.section = "lu", .key = "size", .type = size, .least = 0,
            .doc = "of ram and null; a file is made or grown to it, never shrunk"},
    Setting{.section = "lu", .key = "create", .type = yes_no, .fallback = "no", .doc = "make the file when it is missing"},
    Setting{.section = "lu", .key = "block_size", .type = word, .fallback = "512", .words = "512|4096",
            .doc = "bytes of a logical block"},
    Setting{.section = "lu", .key = "physical_block", .type = size, .fallback = "4k", .least = 512, .most = 1 << 20,
            .doc = "bytes of a physical block, a power of two"},
    Setting{.section = "lu", .key = "direct", .type = yes_no, .fallback = "no", .doc = "past the page cache (O_DIRECT)"},
    Setting{.section = "lu", .key = "engine", .type = word, .fallback = "automatic",
            .words = "automatic|io_uring|threads", .doc = "how the medium is read and written"},
    Setting{.section = "lu", .key = "read_only", .type = yes_no, .fallback = "no", .doc = "write protected"},
    Setting{.section = "lu", .key = "removable", .type = yes_no, .fallback = "no", .doc = "the medium can be ejected"},
    Setting{.section = "lu", .key = "no_medium", .type = yes_no, .fallback = "no",
            .doc = "a removable unit starts without its medium"},
    Setting{.section = "lu", .key = "write_cache", .type = yes_no, .fallback = "yes",
            .doc = "the write cache bit as long as no initiator changed it"},
    Setting{.section = "lu", .key = "thin", .type = yes_no, .fallback = "yes", .doc = "thin provisioning: UNMAP works"},
    Setting{.section = "lu", .key = "threshold", .type = integer, .unit = "%", .fallback = "0", .least = 0, .most = 99,
            .doc = "space used, in percent, at which initiators are told; 0: never"},
    Setting{.section = "lu", .key = "uuid", .type = text,
            .doc = "the identity; made at the first start and kept when it is not given"},
    Setting{.section = "lu", .key = "product", .type = text, .fallback = "VIRTUAL-DISK",
            .doc = "the product name, 16 characters at most"},
    Setting{.section = "lu", .key = "revision", .type = text, .doc = "the product revision, 4 characters at most"},
    Setting{.section = "lu", .key = "transfer_max", .type = size, .fallback = "8M", .least = 65536, .most = 64 << 20,
            .doc = "the longest transfer of one command"},
    Setting{.section = "lu", .key = "copy_max", .type = size, .fallback = "16M", .least = 65536, .most = 1 << 30,
            .doc = "the longest segment of EXTENDED COPY"},
    Setting{.section = "lu", .key = "sanitize_rate", .type = size, .fallback = "0", .least = 0,
            .doc = "bytes a second that SANITIZE overwrites at most; 0: as fast as it goes"},
    Setting{.section = "lu", .key = "drill", .type = text,
            .doc = "faults on purpose: \"delay:all=5ms;error:rate=0.01\""},

    Setting{.section = "target", .key = "alias", .type = text, .doc = "a name for people"},
    Setting{.section = "target", .key = "lun", .type = text,
            .doc = "NUMBER NAME: the unit NAME is LUN NUMBER; or as in ietd.conf, NUMBER Path=...,Type=...", .repeatable = true},
    Setting{.section = "target", .key = "portal_group", .type = integer, .least = 1, .most = 65535,
            .doc = "the tag of a portal group the target is reached through; all when none is named", .repeatable = true},
    Setting{.section = "target", .key = "incoming_user", .type = text,
            .doc = "USER [SECRET]: who may log in; without SECRET that of an account section", .repeatable = true, .secret = true},
    Setting{.section = "target", .key = "outgoing_user", .type = text,
            .doc = "USER [SECRET]: who we are when the initiator asks", .secret = true},
    Setting{.section = "target", .key = "chap_algorithms", .type = text, .fallback = "SHA3-256,SHA256,SHA1,MD5",
            .doc = "allowed digests of CHAP, the best first"},
    Setting{.section = "target", .key = "allow_initiator", .type = text,
            .doc = "an iSCSI name, * at its end stands for anything; all when none is named", .repeatable = true},
    Setting{.section = "target", .key = "allow_address", .type = text,
            .doc = "an address or a prefix (10.0.0.0/8); all when none is named", .repeatable = true},
    Setting{.section = "target", .key = "redirect", .type = text,
            .doc = "temporary|permanent ADDRESS[:PORT][,TAG]: logins are sent there"},
    Setting{.section = "target", .key = "header_digest", .type = text, .fallback = "None,CRC32C",
            .doc = "in order of preference"},
    Setting{.section = "target", .key = "data_digest", .type = text, .fallback = "None,CRC32C",
            .doc = "in order of preference"},
    Setting{.section = "target", .key = "max_connections", .type = integer, .fallback = "8", .least = 1, .most = 8,
            .doc = "connections of one session"},
    Setting{.section = "target", .key = "initial_r2t", .type = yes_no, .fallback = "no",
            .doc = "data is asked for before any is sent"},
    Setting{.section = "target", .key = "immediate_data", .type = yes_no, .fallback = "yes",
            .doc = "data may come with its command"},
    Setting{.section = "target", .key = "max_recv_segment", .type = size, .fallback = "256k", .least = 512,
            .most = segment_most, .doc = "the longest data segment we take"},
    Setting{.section = "target", .key = "max_burst", .type = size, .fallback = "1M", .least = 512, .most = segment_most,
            .doc = "the most data of one sequence"},
    Setting{.section = "target", .key = "first_burst", .type = size, .fallback = "256k", .least = 512,
            .most = segment_most, .doc = "the most unsolicited data of one command"},
    Setting{.section = "target", .key = "time2wait", .type = duration, .fallback = "2s", .least = 0, .most = hour_ms,
            .doc = "DefaultTime2Wait"},
    Setting{.section = "target", .key = "time2retain", .type = duration, .fallback = "0s", .least = 0, .most = hour_ms,
            .doc = "DefaultTime2Retain"},
    Setting{.section = "target", .key = "max_outstanding_r2t", .type = integer, .fallback = "8", .least = 1,
            .most = 65535, .doc = "requests for data under way for one command"},
    Setting{.section = "target", .key = "error_recovery_level", .type = integer, .fallback = "1", .least = 0, .most = 2,
            .doc = "the highest error recovery level to agree to"},
    Setting{.section = "target", .key = "queue_depth", .type = integer, .fallback = "128", .least = 1, .most = 1024,
            .doc = "commands of one session under way"},
    Setting{.section = "target", .key = "sessions_max", .type = integer, .fallback = "0", .least = 0, .most = 65535,
            .doc = "sessions at a time; 0: no limit"},
    Setting{.section = "target", .key = "nop_interval", .type = duration, .fallback = "5s", .least = 0, .most = hour_ms,
            .doc = "silence after which an initiator is asked whether it lives; 0: never"},
    Setting{.section = "target", .key = "nop_timeout", .type = duration, .fallback = "5s", .least = 100,
            .most = hour_ms, .doc = "how long it may take to answer"},
    Setting{.section = "target", .key = "MaxXmitDataSegmentLength", .type = ignored,
            .doc = "the initiator's word counts"},
    Setting{.section = "target", .key = "DataPDUInOrder", .type = ignored, .doc = "always in order"},
    Setting{.section = "target", .key = "DataSequenceInOrder", .type = ignored, .doc = "always in order"},
    Setting{.section = "target", .key = "Wthreads", .type = ignored, .doc = "see shards"},
    Setting{.section = "target", .key = "MaxSessions", .type = ignored, .doc = "see sessions_max"},
};

struct Pair {
  std::string_view ietd, ours;
};
constexpr std::array pairs{
    Pair{"IncomingUser", "incoming_user"},
    Pair{"OutgoingUser", "outgoing_user"},
    Pair{"Lun", "lun"},
    Pair{"Alias", "alias"},
    Pair{"MaxConnections", "max_connections"},
    Pair{"InitialR2T", "initial_r2t"},
    Pair{"ImmediateData", "immediate_data"},
    Pair{"MaxRecvDataSegmentLength", "max_recv_segment"},
    Pair{"MaxBurstLength", "max_burst"},
    Pair{"FirstBurstLength", "first_burst"},
    Pair{"DefaultTime2Wait", "time2wait"},
    Pair{"DefaultTime2Retain", "time2retain"},
    Pair{"MaxOutstandingR2T", "max_outstanding_r2t"},
    Pair{"ErrorRecoveryLevel", "error_recovery_level"},
    Pair{"HeaderDigest", "header_digest"},
    Pair{"DataDigest", "data_digest"},
    Pair{"QueuedCommands", "queue_depth"},
    Pair{"NOPInterval", "nop_interval"},
    Pair{"NOPTimeout", "nop_timeout"},
    Pair{"MaxXmitDataSegmentLength", "MaxXmitDataSegmentLength"},
    Pair{"DataPDUInOrder", "DataPDUInOrder"},
    Pair{"DataSequenceInOrder", "DataSequenceInOrder"},
    Pair{"Wthreads", "Wthreads"},
    Pair{"MaxSessions", "MaxSessions"},
};

bool equal_letters(std::string_view a, std::string_view b) {
  return std::ranges::equal(a, b, [](char x, char y) {
    return std::tolower(static_cast<unsigned char>(x)) == std::tolower(static_cast<unsigned char>(y));
  });
}

}  // namespace

const SettingsTable& target_settings() {
  static const SettingsTable table(rows);
  return table;
}

std::string_view ours_of_ietd(std::string_view key) {
  for (const Pair& pair : pairs) {
    if (equal_letters(pair.ietd, key)) return pair.ours;
  }
  return {};
}

}  // namespace mpath::target
