#include "initiator/node_config.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <optional>

#include "base/stable_hash.hpp"
#include "db/settings.hpp"

namespace mpath {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr seconds connect_limit{5};
constexpr seconds noop_timeout_default{5};
constexpr milliseconds silence_limit_default{500};
constexpr milliseconds nop_timeout_default{700};

// Reads settings; keeps the first complaint.
class SettingReader {
 public:
  explicit SettingReader(const db::Settings& settings) : settings_(settings) {}

  std::string text(const std::string& key) {
    const auto at = settings_.find(key);
    return at == settings_.end() ? std::string() : at->second;
  }

  int number(const std::string& key, int fallback) {
    const std::string value = text(key);
    if (value.empty()) return fallback;
    int number = 0;
    const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), number);
    if (error != std::errc() || end != value.data() + value.size()) {
      complain(fmt::format("{} = {}: not a number", key, value));
      return fallback;
    }
    return number;
  }

  seconds time(const std::string& key, int fallback) { return seconds(std::max(0, number(key, fallback))); }

  bool flag(const std::string& key, bool fallback) {
    const std::string value = text(key);
    return value.empty() ? fallback : value == "Yes";
  }

  void complain(std::string line) {
    if (!complaint_) complaint_ = std::move(line);
  }
  [[nodiscard]] const std::optional<std::string>& complaint() const { return complaint_; }

 private:
  const db::Settings& settings_;
  std::optional<std::string> complaint_;
};

void read_times(SettingReader& record, NodeConfig& config) {
  SessionConfig& session = config.session;
  session.login_timeout = std::max(record.time("node.conn[0].timeo.login_timeout", 15), seconds(1));
  session.connect_timeout = std::min<milliseconds>(connect_limit, session.login_timeout);
  session.logout_timeout = std::max(record.time("node.conn[0].timeo.logout_timeout", 15), seconds(1));

  const seconds interval = record.time("node.conn[0].timeo.noop_out_interval", 5);
  const seconds timeout = record.time("node.conn[0].timeo.noop_out_timeout", 5);
  session.nop_interval = interval;
  if (interval == seconds(0) && timeout == seconds(0)) {
    session.silence_limit = session.nop_timeout = milliseconds(0);
  } else if (timeout == noop_timeout_default) {
    session.silence_limit = silence_limit_default;
    session.nop_timeout = nop_timeout_default;
  } else {
    session.silence_limit = silence_limit_default;
    session.nop_timeout = timeout - silence_limit_default;
  }

  config.reconnect.attempts_max = static_cast<unsigned>(std::max(0, record.number("node.session.reopen_max", 0)));
  config.timeouts = {.recovery = record.number("node.session.timeo.replacement_timeout", 120),
                     .target_reset = record.number("node.session.err_timeo.tgt_reset_timeout", 30),
                     .lun_reset = record.number("node.session.err_timeo.lu_reset_timeout", 30),
                     .abort = record.number("node.session.err_timeo.abort_timeout", 15)};
}

bool has_word(const std::string& list, std::string_view word) {
  std::string_view rest = list;
  while (!rest.empty()) {
    const auto comma = rest.find(',');
    if (rest.substr(0, comma) == word) return true;
    rest = comma == rest.npos ? std::string_view() : rest.substr(comma + 1);
  }
  return false;
}

void read_account(SettingReader& record, SessionConfig& session) {
  session.chap_required = record.text("node.session.auth.authmethod") == "CHAP";
  session.chap = {record.text("node.session.auth.username"), record.text("node.session.auth.password")};
  session.chap_in = {record.text("node.session.auth.username_in"), record.text("node.session.auth.password_in")};
  const bool out = !session.chap.name.empty();
  const bool in = !session.chap_in.name.empty();
  if (session.chap_required && !out) record.complain("node.session.auth.authmethod = CHAP without node.session.auth.username");
  if (!session.chap.secret.empty() != out) record.complain("node.session.auth: username and password go together");
  if (!session.chap_in.secret.empty() != in) record.complain("node.session.auth: username_in and password_in go together");
  if (in && !out) record.complain("node.session.auth.username_in without node.session.auth.username");
  if (in && session.chap.secret == session.chap_in.secret) {
    record.complain("node.session.auth: password and password_in must differ (RFC 7143, 9.2.1)");
  }
  const std::string algorithms = record.text("node.session.auth.chap_algs");
  if (out && !algorithms.empty() && !has_word(algorithms, "MD5")) {
    record.complain(fmt::format("node.session.auth.chap_algs = {}: only MD5 is available", algorithms));
  }
}

void read_login_keys(SettingReader& record, SessionConfig& session) {
  const std::string header = record.text("node.conn[0].iscsi.HeaderDigest");
  if (header == "CRC32C") session.header_digest = Digest::crc32c;
  else if (header == "CRC32C,None") session.header_digest = Digest::crc32c_preferred;
  else if (header == "None,CRC32C") session.header_digest = Digest::none_preferred;
  else session.header_digest = Digest::none;
  if (record.text("node.conn[0].iscsi.DataDigest") == "CRC32C") {
    record.complain("node.conn[0].iscsi.DataDigest = CRC32C: data digests are not available");
  }
  session.immediate_data = record.flag("node.session.iscsi.ImmediateData", true);
  session.initial_r2t = record.flag("node.session.iscsi.InitialR2T", false);
  session.tasks_max = static_cast<std::uint32_t>(std::max(1, record.number("node.session.cmds_max", 128)));
}

}  // namespace

std::expected<NodeConfig, std::string> node_config(const db::NodeRecord& record, const NodeSurroundings& around) {
  db::Settings settings = record.settings;
  db::make_consistent(settings);
  SettingReader reader(settings);

  NodeConfig config;
  SessionConfig& session = config.session;
  const std::string of_iface = reader.text("iface.initiatorname");
  session.initiator_name = of_iface.empty() ? around.initiator_name : of_iface;
  session.target_name = record.key.target_name;
  session.address = around.address;
  session.port = record.key.port;
  session.binding = around.binding;
  session.isid = isid_of(record.key, around.index, around.instance);
  const std::string transport = reader.text("iface.transport_name");
  if (!transport.empty() && transport != "tcp") reader.complain(fmt::format("iface.transport_name = {}: only tcp is available", transport));
  if (session.initiator_name.empty()) reader.complain("no initiator name: initiatorname.iscsi has no InitiatorName line");
  read_times(reader, config);
  read_account(reader, session);
  read_login_keys(reader, session);
  if (reader.complaint()) return std::unexpected(*reader.complaint());
  return config;
}

unsigned sessions_wanted(const db::NodeRecord& record) {
  SettingReader reader(record.settings);
  return static_cast<unsigned>(std::max(1, reader.number("node.session.nr_sessions", 1)));
}

bool has_startup(const db::NodeRecord& record, std::string_view word) {
  SettingReader reader(record.settings);
  return reader.text("node.startup") == word || reader.text("node.conn[0].startup") == word;
}

Isid isid_of(const db::NodeKey& key, unsigned index, const std::string& instance) {
  // Not the portal group tag: discovery may learn it later. FNV's low bits are its better ones after a final mix.
  std::string text = fmt::format("{}\n{}\n{}\n{}\n{}", key.target_name, key.address, key.port, key.iface, index);
  if (!instance.empty()) text += "\n" + instance;
  std::uint64_t hash = stable_hash(text);
  hash ^= hash >> 32;
  hash *= 0x9e3779b97f4a7c15;
  hash ^= hash >> 29;
  const auto byte = [&](int n) { return static_cast<std::uint8_t>(hash >> (8 * n)); };
  return {0x80, byte(0), byte(1), byte(2), byte(3), byte(4)};
}

}  // namespace mpath
