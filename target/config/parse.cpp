#include "target/config/parse.hpp"

#include <arpa/inet.h>
#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cctype>
#include <filesystem>
#include <map>
#include <set>

#include "base/drill_device.hpp"
#include "target/config/secrets.hpp"
#include "target/config/settings_table.hpp"

namespace mpath::target {
namespace {

using Severity = ConfigProblem::Severity;

constexpr std::size_t unit_name_max = 64;
constexpr std::uint64_t lun_max = 16383;
constexpr std::size_t portals_of_group_max = 64;
constexpr std::string_view labelled[] = {"account", "portal_group", "lu", "target"};

bool is_any(const std::string& address) {
  return address == "0.0.0.0" || address == "::";
}
bool is_v6(const std::string& address) {
  return address.find(':') != address.npos;
}

// Two sockets that cannot both listen.
bool overlap(const Portal& a, const Portal& b) {
  if (a.port != b.port || a.port == 0 || is_v6(a.address) != is_v6(b.address)) return false;
  return a.address == b.address || is_any(a.address) || is_any(b.address);
}

std::string lower(std::string_view text) {
  std::string low(text);
  for (char& letter : low) letter = static_cast<char>(std::tolower(static_cast<unsigned char>(letter)));
  return low;
}

// "10.0.0.0/8", "fe80::/10", "10.1.2.3".
bool valid_prefix(const std::string& text) {
  const std::size_t slash = std::min(text.find('/'), text.size());
  const std::string address = text.substr(0, slash);
  unsigned char bytes[16];
  const bool v4 = ::inet_pton(AF_INET, address.c_str(), bytes) == 1;
  if (!v4 && ::inet_pton(AF_INET6, address.c_str(), bytes) != 1) return false;
  return slash == text.size() || parse_integer(std::string_view(text).substr(slash + 1), 0, v4 ? 32 : 128).has_value();
}

class Builder {
 public:
  explicit Builder(const ReadSecret& read_secret) : read_secret_(read_secret) {}

  void take_file(const ConfigFile& file) {
    ConfigTree tree = parse_config(ConfigGrammar::blocks, file.text, file.name);
    std::ranges::move(tree.problems, std::back_inserter(result_.problems));
    for (ConfigSection& section : tree.root.sections) use_our_words(section);
    std::ranges::move(target_settings().validate(tree.root), std::back_inserter(result_.problems));
    bool secrets_inside = false;
    for (const ConfigSection& section : tree.root.sections) {
      if (!target_settings().has_section(section.name)) continue;
      add_object(section, file.managed);
      for (const ConfigEntry& entry : section.entries) {
        const Setting* setting = target_settings().find(section.name, entry.key);
        if (setting != nullptr && setting->secret && (entry.words.size() > 1 || entry.key == "secret"))
          secrets_inside = true;
      }
    }
    if (secrets_inside && file.others_read)
      warn({file.name, 0}, "holds secrets and others may read it: chmod 0600, or use secret_file");
  }

  ParsedConfig finish() {
    // Values of the wrong form would only lead to more words about the same lines.
    if (!has_errors(result_.problems)) {
      for (const Item& item : items_) build(item);
      cross_check();
    }
    return std::move(result_);
  }

 private:
  struct Item {
    ConfigSection section;
    std::size_t object;
  };

  void complain(const Origin& origin, std::string what) {
    result_.problems.push_back({Severity::error, origin, std::move(what)});
  }
  void warn(const Origin& origin, std::string what) {
    result_.problems.push_back({Severity::warning, origin, std::move(what)});
  }

  static void use_our_words(ConfigSection& section) {
    if (section.name != "target" && section.name != "discovery") return;
    for (ConfigEntry& entry : section.entries) {
      if (target_settings().find(section.name, entry.key) != nullptr) continue;
      const std::string_view ours = ours_of_ietd(entry.key);
      if (!ours.empty()) entry.key = ours;
    }
  }

  void add_object(const ConfigSection& section, bool managed) {
    const bool wants_label = std::ranges::find(labelled, section.name) != std::end(labelled);
    if (wants_label && section.label.empty())
      complain(section.origin, fmt::format("a {} has a name: {} NAME {{ ... }}", section.name, section.name));
    if (!wants_label && !section.label.empty()) complain(section.origin, fmt::format("{} has no name", section.name));
    for (const ConfigSection& inner : section.sections)
      complain(inner.origin, fmt::format("{} cannot stand inside of {}", inner.name, section.name));
    const auto same = std::ranges::find_if(result_.objects, [&](const ConfigObject& object) {
      return object.kind == section.name && object.label == section.label;
    });
    if (same != result_.objects.end()) {
      complain(section.origin,
               wants_label ? fmt::format("{} {} stands at {} already", section.name, section.label, same->origin.text())
                           : fmt::format("{} stands at {} already", section.name, same->origin.text()));
      return;
    }
    refuse_repetition(section);
    SettingValues values(target_settings(), section.name);
    values.apply(section);
    result_.objects.push_back({section.name, section.label, section.origin, managed, std::move(values)});
    items_.push_back({section, result_.objects.size() - 1});
  }

  void refuse_repetition(const ConfigSection& section) {
    std::map<std::string, Origin> seen;
    for (const ConfigEntry& entry : section.entries) {
      const Setting* setting = target_settings().find(section.name, entry.key);
      if (setting == nullptr || setting->repeatable) continue;
      const auto [place, fresh] = seen.emplace(entry.key, entry.origin);
      if (!fresh) complain(entry.origin, fmt::format("{} stands at {} already", entry.key, place->second.text()));
    }
  }

  void build(const Item& item) {
    const std::string& kind = item.section.name;
    // Accounts are looked up by those that name them, wherever they stand.
    if (kind == "account") return;
    if (accounts_.empty()) build_accounts();
    if (kind == "global") build_global(item);
    if (kind == "discovery") build_discovery(item);
    if (kind == "portal_group") build_group(item);
    if (kind == "lu") build_unit(item);
    if (kind == "target") build_target(item);
  }

  void build_accounts() {
    for (const Item& item : items_) {
      if (item.section.name != "account") continue;
      const SettingValues& values = values_of(item);
      const Origin& origin = item.section.origin;
      if (values.is_set("secret") == values.is_set("secret_file")) {
        complain(origin, fmt::format("account {} needs one of secret and secret_file", item.section.label));
        continue;
      }
      std::expected<std::string, std::string> text;
      Origin where;
      if (values.is_set("secret")) {
        text = values.text("secret");
        where = values.origin("secret");
      } else {
        text = read_secret_(values.text("secret_file"));
        where = values.origin("secret_file");
      }
      if (text) text = parse_secret(*text);
      if (!text) {
        complain(where, fmt::format("account {}: {}", item.section.label, text.error()));
        continue;
      }
      accounts_[item.section.label] = *text;
      result_.config.accounts.push_back({{item.section.label, *text}, origin, result_.objects[item.object].managed});
    }
    accounts_.emplace("", "");  // so that they are not built again
  }

  const SettingValues& values_of(const Item& item) const { return result_.objects[item.object].values; }

  void build_global(const Item& item) {
    const SettingValues& values = values_of(item);
    TargetdConfig& config = result_.config;
    config.shards = static_cast<unsigned>(values.integer("shards"));
    config.login.stage_timeout = values.duration("login_stage_timeout");
    config.login.login_timeout = values.duration("login_timeout");
    config.login.half_open_max = static_cast<std::size_t>(values.integer("half_open_max"));
    config.login.failures_before_lockout = static_cast<unsigned>(values.integer("chap_failures_max"));
    config.login.lockout = values.duration("chap_lockout");
  }

  void build_discovery(const Item& item) { build_authentication(item, result_.config.discovery); }

  std::optional<Account> account_of(const ConfigEntry& entry) {
    if (entry.words.empty() || entry.words.size() > 2) {
      complain(entry.origin,
               fmt::format("{} takes USER and, when there is no account of that name, SECRET", entry.key));
      return std::nullopt;
    }
    const std::string& user = entry.words[0];
    if (entry.words.size() == 2) {
      auto secret = parse_secret(entry.words[1]);
      if (!secret) {
        complain(entry.origin, fmt::format("{} {}: {}", entry.key, user, secret.error()));
        return std::nullopt;
      }
      return Account{user, *secret};
    }
    const auto found = accounts_.find(user);
    if (found == accounts_.end()) {
      complain(entry.origin, fmt::format("there is no account {} (or its secret was refused)", user));
      return std::nullopt;
    }
    return Account{user, found->second};
  }

  void build_authentication(const Item& item, Authentication& authentication) {
    std::set<std::string> users;
    for (const ConfigEntry& entry : item.section.entries) {
      const bool incoming = entry.key == "incoming_user";
      if (!incoming && entry.key != "outgoing_user") continue;
      const auto account = account_of(entry);
      if (!account) continue;
      if (!incoming) {
        authentication.outgoing = *account;
      } else if (users.insert(account->user).second) {
        authentication.incoming.push_back(*account);
      } else {
        complain(entry.origin, fmt::format("incoming_user {} is there already", account->user));
      }
    }
    if (const auto wrong = check_authentication(authentication)) complain(item.section.origin, *wrong);
    const SettingValues& values = values_of(item);
    authentication.algorithms.clear();
    const std::string list = values.text("chap_algorithms");
    for (const std::string_view word : iscsi::split_list(list)) {
      bool known = false;
      for (const auto algorithm : Authentication{}.algorithms) {
        if (iscsi::name(algorithm) != word) continue;
        authentication.algorithms.push_back(algorithm);
        known = true;
      }
      if (!known)
        complain(values.origin("chap_algorithms"),
                 fmt::format("\"{}\" is none of SHA3-256, SHA256, SHA1 and MD5", word));
    }
  }

  void build_group(const Item& item) {
    const SettingValues& values = values_of(item);
    const auto tag = parse_integer(item.section.label, 1, 65535);
    if (!tag) return complain(item.section.origin, fmt::format("portal_group {}: {}", item.section.label, tag.error()));
    PortalGroupConfig group{.tag = static_cast<std::uint16_t>(*tag), .origin = item.section.origin};
    group.managed = result_.objects[item.object].managed;
    group.peer = values.yes_no("peer");
    const auto number = [&](const char* key) {
      return values.is_set(key) ? static_cast<std::uint16_t>(values.integer(key)) : group.tag;
    };
    group.alua_group = number("alua_group");
    group.relative_id = number("relative_id");
    for (const ConfigEntry& entry : item.section.entries) {
      if (entry.key != "portal") continue;
      const auto portal = parse_portal(entry.value);
      if (!portal) {
        complain(entry.origin, portal.error());
        continue;
      }
      if (!group.peer) claim(*portal, group.tag, entry.origin);
      group.portals.push_back(*portal);
    }
    if (group.portals.empty()) complain(group.origin, fmt::format("portal_group {} has no portal", group.tag));
    if (group.portals.size() > portals_of_group_max)
      complain(group.origin, fmt::format("more than {} portals in a group", portals_of_group_max));
    for (const PortalGroupConfig& other : result_.config.portal_groups) {
      if (other.relative_id == group.relative_id)
        complain(group.origin, fmt::format("portal_group {} has relative_id {} too ({})", other.tag, group.relative_id,
                                           other.origin.text()));
    }
    group.fingerprint = fingerprint(values);
    result_.config.portal_groups.push_back(std::move(group));
  }

  struct Claim {
    Portal portal;
    Origin origin;
  };
  void claim(const Portal& portal, std::uint16_t tag, const Origin& origin) {
    for (const Claim& other : claims_) {
      if (overlap(other.portal, portal))
        complain(origin, fmt::format("portal {} of group {} overlaps {} ({})", format_portal(portal), tag,
                                     format_portal(other.portal), other.origin.text()));
    }
    claims_.push_back({portal, origin});
  }

  void build_unit(const Item& item) {
    const SettingValues& values = values_of(item);
    LuConfig unit{.name = item.section.label, .origin = item.section.origin};
    unit.managed = result_.objects[item.object].managed;
    if (!valid_unit_name(unit.name))
      complain(unit.origin, fmt::format("\"{}\" is no name for a unit: letters, digits, . _ - and at most {} of them",
                                        unit.name, unit_name_max));
    StoreOptions& store = unit.store;
    store.name = unit.name;
    const std::string type = values.text("type");
    store.kind = type == "block"  ? StoreKind::block
                 : type == "ram"  ? StoreKind::ram
                 : type == "null" ? StoreKind::null
                                  : StoreKind::file;
    const bool on_medium = store.kind == StoreKind::file || store.kind == StoreKind::block;
    store.path = values.text("path");
    if (on_medium && !store.path.starts_with('/'))
      complain(unit.origin, fmt::format("lu {} needs a path that begins with /", unit.name));
    if (!on_medium && values.is_set("path"))
      warn(values.origin("path"), fmt::format("path has no effect with type {}", type));
    if (on_medium) remember_path(store.path, unit.name, unit.origin);
    if (values.is_set("size")) store.size_bytes = values.size("size");
    store.block_bytes = values.text("block_size") == "4096" ? 4096 : 512;
    if (!on_medium && store.size_bytes == 0)
      complain(unit.origin, fmt::format("lu {} of type {} needs a size", unit.name, type));
    if (store.size_bytes % store.block_bytes != 0)
      complain(values.origin("size"),
               fmt::format("the size is no multiple of the block of {} bytes", store.block_bytes));
    if (store.kind == StoreKind::block && values.is_set("size"))
      warn(values.origin("size"), "size has no effect with type block: a device has its own");
    store.create = values.yes_no("create");
    if (store.create && store.kind == StoreKind::file && store.size_bytes == 0)
      complain(unit.origin, fmt::format("lu {}: a file that is made needs a size", unit.name));
    store.direct = values.yes_no("direct");
    store.read_only = values.yes_no("read_only");
    const std::string engine = values.text("engine");
    store.engine = engine == "io_uring"  ? StoreEngine::io_uring
                   : engine == "threads" ? StoreEngine::threads
                                         : StoreEngine::automatic;
    build_unit_options(values, unit);
    unit.drill = values.text("drill");
    if (const auto wrong = unit.drill.empty() ? std::nullopt : check_drills(unit.drill))
      complain(values.origin("drill"), *wrong);
    unit.fingerprint = fingerprint(values);
    result_.config.units.push_back(std::move(unit));
  }

  void build_unit_options(const SettingValues& values, LuConfig& unit) {
    LuOptions& options = unit.unit;
    options.name = unit.name;
    options.product = values.text("product");
    options.revision = values.text("revision");
    if (options.product.size() > 16) complain(values.origin("product"), "product has more than 16 characters");
    if (options.revision.size() > 4) complain(values.origin("revision"), "revision has more than 4 characters");
    const std::uint64_t physical = values.size("physical_block");
    if (!std::has_single_bit(physical) || physical < unit.store.block_bytes) {
      if (values.is_set("physical_block"))
        complain(values.origin("physical_block"), "a physical block is a power of two, and a logical one at least");
    } else {
      options.physical_exponent = static_cast<std::uint8_t>(std::countr_zero(physical / unit.store.block_bytes));
    }
    options.thin = values.yes_no("thin");
    options.removable = values.yes_no("removable");
    options.no_medium = values.yes_no("no_medium");
    if (options.no_medium && !options.removable)
      complain(values.origin("no_medium"), "only a removable unit can be without its medium");
    options.read_only = unit.store.read_only;
    options.write_cache = values.yes_no("write_cache");
    options.threshold_percent = static_cast<std::uint32_t>(values.integer("threshold"));
    if (options.threshold_percent != 0 && !options.thin)
      warn(values.origin("threshold"), "threshold has no effect without thin");
    options.sanitize_bytes_per_second = values.size("sanitize_rate");
    options.transfer_bytes_max = static_cast<std::uint32_t>(values.size("transfer_max"));
    options.copy_bytes_max = static_cast<std::uint32_t>(values.size("copy_max"));
    if (values.is_set("uuid")) {
      const auto uuid = parse_uuid(values.text("uuid"));
      if (!uuid || *uuid == Uuid{}) {
        complain(values.origin("uuid"), "this is no UUID");
      } else {
        for (const LuConfig& other : result_.config.units) {
          if (other.unit.uuid == *uuid)
            complain(values.origin("uuid"), fmt::format("lu {} has the same uuid", other.name));
        }
        options.uuid = *uuid;
      }
    }
  }

  void remember_path(const std::string& path, const std::string& unit, const Origin& origin) {
    std::error_code error;
    const auto canonical = std::filesystem::weakly_canonical(path, error);
    const auto [place, fresh] = paths_.emplace(error ? path : canonical.string(), unit);
    if (!fresh) complain(origin, fmt::format("lu {} holds {} too", place->second, path));
  }

  void build_target(const Item& item) {
    const SettingValues& values = values_of(item);
    TargetConfig target{.name = item.section.label, .origin = item.section.origin};
    target.managed = result_.objects[item.object].managed;
    if (!iscsi::valid_iscsi_name(target.name))
      complain(
          target.origin,
          fmt::format("\"{}\" is no iSCSI name: iqn.YYYY-MM.DOMAIN:NAME in lower case, eui. or naa.", target.name));
    target.alias = values.text("alias");
    for (const ConfigEntry& entry : item.section.entries) {
      if (entry.key == "lun") take_lun(entry, target);
      if (entry.key == "portal_group") {
        const auto tag = static_cast<std::uint16_t>(parse_integer(entry.value).value_or(0));
        if (std::ranges::find(target.portal_groups, tag) != target.portal_groups.end())
          complain(entry.origin, fmt::format("portal_group {} is there already", tag));
        target.portal_groups.push_back(tag);
        group_uses_.emplace_back(tag, entry.origin);
      }
      if (entry.key == "allow_address" && !valid_prefix(entry.value))
        complain(entry.origin, fmt::format("\"{}\" is no address and no prefix", entry.value));
    }
    target.access.initiators = values.all("allow_initiator");
    target.access.addresses = values.all("allow_address");
    build_authentication(item, target.authentication);
    build_wishes(values, target);
    if (values.is_set("redirect")) take_redirect(values, target);
    target.fingerprint = fingerprint(values);
    for (const Account& account : target.authentication.incoming)
      target.fingerprint += account.user + '\1' + account.secret + '\1';
    if (target.authentication.outgoing)
      target.fingerprint += '\2' + target.authentication.outgoing->user + '\1' + target.authentication.outgoing->secret;
    result_.config.targets.push_back(std::move(target));
  }

  void take_lun(const ConfigEntry& entry, TargetConfig& target) {
    const auto number = entry.words.empty() ? Parsed<std::int64_t>(0) : parse_integer(entry.words[0], 0, lun_max);
    if (entry.words.size() != 2 || !number)
      return complain(entry.origin, fmt::format("lun takes a number up to {} and the name of a lu", lun_max));
    const auto lun = static_cast<std::uint64_t>(*number);
    if (target.luns.contains(lun)) return complain(entry.origin, fmt::format("LUN {} is there already", lun));
    const std::string& what = entry.words[1];
    if (what.find('=') == what.npos) {
      unit_uses_.emplace_back(what, entry.origin);
    } else if (!take_ietd_lun(entry, target.name, lun)) {
      return;
    }
    for (const auto& [other, name] : target.luns) {
      if (name == what) complain(entry.origin, fmt::format("lu {} is LUN {} of the same target already", what, other));
    }
    target.luns[lun] = what.find('=') == what.npos ? what : ietd_unit_name(target.name, lun);
  }

  static std::string ietd_unit_name(const std::string& target, std::uint64_t lun) {
    std::string name = fmt::format("{}-lun{}", target.substr(target.rfind(':') + 1), lun);
    for (char& letter : name) {
      if (!std::isalnum(static_cast<unsigned char>(letter)) && letter != '.' && letter != '-') letter = '_';
    }
    if (name.size() > unit_name_max) name = name.substr(name.size() - unit_name_max);
    return name;
  }

  // Path=/x,Type=fileio,IOMode=wb: a unit of its own.
  bool take_ietd_lun(const ConfigEntry& entry, const std::string& target, std::uint64_t lun) {
    LuConfig unit{.name = ietd_unit_name(target, lun), .origin = entry.origin};
    unit.store.name = unit.unit.name = unit.name;
    std::uint64_t sectors = 0;
    bool good = true;
    const auto refuse = [&](std::string what) {
      complain(entry.origin, std::move(what));
      good = false;
    };
    for (const std::string_view part : iscsi::split_list(entry.words[1])) {
      const std::size_t equals = std::min(part.find('='), part.size());
      const std::string key = lower(part.substr(0, equals));
      const std::string value(part.substr(std::min(equals + 1, part.size())));
      if (key == "path") {
        unit.store.path = value;
      } else if (key == "type") {
        if (value == "fileio")
          unit.store.kind = StoreKind::file;
        else if (value == "blockio")
          unit.store.kind = StoreKind::block;
        else if (value == "nullio")
          unit.store.kind = StoreKind::null;
        else
          refuse(fmt::format("Type={} is none of fileio, blockio and nullio", value));
      } else if (key == "iomode") {
        if (value == "ro")
          unit.store.read_only = unit.unit.read_only = true;
        else if (value == "wt")
          unit.unit.write_cache = false;
        else if (value != "wb" && value != "rw")
          refuse(fmt::format("IOMode={} is none of ro, wb and wt", value));
      } else if (key == "sectors") {
        sectors = static_cast<std::uint64_t>(parse_integer(value, 1).value_or(0));
        if (sectors == 0) refuse(fmt::format("Sectors={} is no number", value));
      } else if (key == "blocksize") {
        if (value == "4096")
          unit.store.block_bytes = 4096;
        else if (value != "512")
          refuse(fmt::format("BlockSize={} is none of 512 and 4096", value));
      } else if (key == "scsiid" || key == "scsisn") {
        warn(entry.origin, fmt::format("{} has no effect: identities come from the UUID of the unit", part));
      } else {
        refuse(fmt::format("\"{}\" is unknown in a Lun line", part));
      }
    }
    const bool on_medium = unit.store.kind != StoreKind::null;
    if (on_medium && !unit.store.path.starts_with('/')) refuse("the Lun line needs Path=/...");
    if (!on_medium) unit.store.size_bytes = (sectors != 0 ? sectors : std::uint64_t{1} << 21) * unit.store.block_bytes;
    if (on_medium && good) remember_path(unit.store.path, unit.name, entry.origin);
    unit.unit.physical_exponent = unit.store.block_bytes == 4096 ? 0 : 3;
    unit.fingerprint = entry.value;
    if (good) result_.config.units.push_back(std::move(unit));
    return good;
  }

  void take_redirect(const SettingValues& values, TargetConfig& target) {
    const std::string text = values.text("redirect");
    const std::size_t blank = std::min(text.find(' '), text.size());
    const std::string how = text.substr(0, blank);
    const auto address = iscsi::parse_target_address(text.substr(std::min(blank + 1, text.size())));
    if ((how != "temporary" && how != "permanent") || !address)
      return complain(values.origin("redirect"), "redirect takes temporary or permanent, and ADDRESS[:PORT][,TAG]");
    target.redirect = how == "permanent" ? Redirect::permanent : Redirect::temporary;
    target.redirect_to = *address;
  }

  void build_wishes(const SettingValues& values, TargetConfig& target) {
    iscsi::Wishes& wishes = target.wishes;
    const auto number = [&](const char* key) { return static_cast<std::uint32_t>(values.integer(key)); };
    const auto bytes = [&](const char* key) { return static_cast<std::uint32_t>(values.size(key)); };
    const auto seconds = [&](const char* key) {
      return static_cast<std::uint32_t>(std::chrono::duration_cast<std::chrono::seconds>(values.duration(key)).count());
    };
    wishes.header_digests = digests(values, "header_digest");
    wishes.data_digests = digests(values, "data_digest");
    wishes.receive_segment_max = bytes("max_recv_segment");
    wishes.max_connections = number("max_connections");
    wishes.initial_r2t = values.yes_no("initial_r2t");
    wishes.immediate_data = values.yes_no("immediate_data");
    wishes.max_burst = bytes("max_burst");
    wishes.first_burst = bytes("first_burst");
    if (wishes.first_burst > wishes.max_burst) {
      if (values.is_set("first_burst"))
        warn(values.origin("first_burst"), "first_burst is more than max_burst and is held to it");
      wishes.first_burst = wishes.max_burst;
    }
    wishes.time2wait = seconds("time2wait");
    wishes.time2retain = seconds("time2retain");
    wishes.max_outstanding_r2t = number("max_outstanding_r2t");
    wishes.error_recovery_level = number("error_recovery_level");
    target.window = number("queue_depth");
    target.sessions_max = number("sessions_max");
    target.nop_interval_ms = static_cast<std::uint32_t>(values.duration("nop_interval").count());
    target.nop_timeout_ms = static_cast<std::uint32_t>(values.duration("nop_timeout").count());
  }

  std::string digests(const SettingValues& values, const char* key) {
    std::string text = values.text(key);
    const std::string list = text;
    for (const std::string_view word : iscsi::split_list(list)) {
      if (word != "None" && word != "CRC32C")
        complain(values.origin(key), fmt::format("{}: \"{}\" is none of None and CRC32C", key, word));
    }
    return text;
  }

  static std::string fingerprint(const SettingValues& values) {
    std::string text;
    for (const SettingValues::Row& row : values.rows()) {
      if (row.value == "********") {
        for (const std::string& value : values.all(row.key)) text += row.key + '=' + value + '\n';
      } else {
        text += row.key + '=' + row.value + '\n';
      }
    }
    return text;
  }

  void cross_check() {
    TargetdConfig& config = result_.config;
    if (accounts_.empty()) build_accounts();
    if (std::ranges::none_of(config.portal_groups, [](const auto& group) { return !group.peer; })) {
      if (std::ranges::any_of(config.portal_groups, [](const auto& group) { return group.tag == 1; }))
        complain({}, "only portal groups of a peer are named: one of this node is needed");
      else
        config.portal_groups.insert(config.portal_groups.begin(), PortalGroupConfig{.portals = {{"0.0.0.0", 3260}}});
    }
    for (const auto& [name, origin] : unit_uses_) {
      if (std::ranges::none_of(config.units, [&name](const LuConfig& unit) { return unit.name == name; }))
        complain(origin, fmt::format("there is no lu {}", name));
    }
    for (const auto& [tag, origin] : group_uses_) {
      if (std::ranges::none_of(config.portal_groups, [&tag](const auto& group) { return group.tag == tag; }))
        complain(origin, fmt::format("there is no portal_group {}", tag));
    }
    std::set<std::string> names;
    for (const LuConfig& unit : config.units) {
      if (!names.insert(unit.name).second) complain(unit.origin, fmt::format("a lu {} is there already", unit.name));
    }
    for (const LuConfig& unit : config.units) {
      const bool used = std::ranges::any_of(config.targets, [&unit](const TargetConfig& target) {
        return std::ranges::any_of(target.luns, [&unit](const auto& lun) { return lun.second == unit.name; });
      });
      if (!used && !unit.managed) warn(unit.origin, fmt::format("lu {} is in no target", unit.name));
    }
    for (const TargetConfig& target : config.targets) {
      if (target.luns.empty() && !target.managed && target.redirect == Redirect::none)
        warn(target.origin, fmt::format("target {} has no lun", target.name));
    }
  }

  const ReadSecret& read_secret_;
  ParsedConfig result_;
  std::vector<Item> items_;
  std::map<std::string, std::string> accounts_;
  std::map<std::string, std::string> paths_;  // canonical path -> unit
  std::vector<Claim> claims_;
  std::vector<std::pair<std::string, Origin>> unit_uses_;
  std::vector<std::pair<std::uint16_t, Origin>> group_uses_;
};

}  // namespace

ParsedConfig parse_targetd_config(std::span<const ConfigFile> files, const ReadSecret& read_secret) {
  Builder builder(read_secret);
  for (const ConfigFile& file : files) builder.take_file(file);
  return builder.finish();
}

bool valid_unit_name(std::string_view name) {
  return !name.empty() && name.size() <= unit_name_max && name.front() != '.' && name.front() != '-' &&
         std::ranges::all_of(name, [](char letter) {
           return std::isalnum(static_cast<unsigned char>(letter)) || letter == '.' || letter == '_' || letter == '-';
         });
}

std::expected<Portal, std::string> parse_portal(std::string_view text) {
  const auto wrong = std::unexpected(fmt::format("\"{}\" is no ADDRESS[:PORT] (numeric, IPv6 in brackets)", text));
  const bool bracket = text.starts_with('[');
  const std::size_t end = std::min(text.find(bracket ? ']' : ':'), text.size());
  if (bracket && end == text.size()) return wrong;
  Portal portal{.address = std::string(text.substr(bracket, end - bracket))};
  const std::string_view rest = text.substr(std::min(end + bracket, text.size()));
  unsigned char bytes[16];
  if (::inet_pton(bracket ? AF_INET6 : AF_INET, portal.address.c_str(), bytes) != 1) return wrong;
  if (rest.empty()) return portal;
  // Port 0 is any that is free: for tests, and for mptargetd --port 0.
  const auto port = rest.front() == ':' ? parse_integer(rest.substr(1), 0, 65535) : std::unexpected(std::string());
  if (!port) return wrong;
  portal.port = static_cast<std::uint16_t>(*port);
  return portal;
}

std::string format_portal(const Portal& portal) {
  return is_v6(portal.address) ? fmt::format("[{}]:{}", portal.address, portal.port)
                               : fmt::format("{}:{}", portal.address, portal.port);
}

std::string show_settings(std::span<const ConfigObject> objects) {
  std::string text;
  for (const ConfigObject& object : objects) {
    text += fmt::format("{}{}{} {{  # {}\n", object.kind, object.label.empty() ? "" : " ",
                        object.label.empty() ? "" : config_quoted(object.label), object.origin.text());
    for (const SettingValues::Row& row : object.values.rows())
      text += fmt::format("  {} {}  # {}\n", row.key,
                          row.value.find(' ') == row.value.npos ? config_quoted(row.value) : row.value, row.origin);
    text += "}\n";
  }
  return text;
}

}  // namespace mpath::target
