#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <optional>
#include <set>

#include "base/config_text.hpp"
#include "base/units.hpp"
#include "target/config/import_writer.hpp"
#include "target/config/settings_table.hpp"

namespace mpath::target {
namespace {

// One backing-store or direct-store, and what is said about it, by its own block or for the whole target.
struct TgtStore {
  unsigned line = 0;
  std::string path;
  bool direct = false;  // direct-store
  std::map<std::string, std::pair<unsigned, std::string>> settings;
};

bool says_yes(const std::string& value) {
  return parse_yes_no(import_lower(value)).value_or(false);
}

class TgtImport {
 public:
  explicit TgtImport(const std::string& file) : writer_(file) {}

  void line(const std::vector<std::string>& words, unsigned number) {
    if (words[0].starts_with('<')) return tag(words, number);
    std::string rest;
    for (std::size_t at = 1; at < words.size(); ++at) rest += (at > 1 ? " " : "") + words[at];
    const std::string key = import_lower(words[0]);
    if (store_) {
      store_->settings[key] = {number, rest};
    } else if (writer_.in_target() && open_) {
      in_target(key, words, rest, number);
    } else {
      global(key, words, rest, number);
    }
  }

  Imported finish() {
    end_target();
    return writer_.finish();
  }

 private:
  void tag(const std::vector<std::string>& words, unsigned number) {
    std::string name = import_lower(words[0].substr(1));
    if (name.ends_with('>')) name.pop_back();
    std::string value = words.size() > 1 ? words[1] : "";
    if (value.ends_with('>')) value.pop_back();
    if (name == "target") {
      end_target();
      writer_.begin_target(import_lower(value));
      open_ = true;
    } else if (name == "/target") {
      end_target();
    } else if (name == "backing-store" || name == "direct-store") {
      store_ = TgtStore{.line = number, .path = value, .direct = name == "direct-store"};
    } else if (name == "/backing-store" || name == "/direct-store") {
      if (store_) stores_.push_back(std::move(*store_));
      store_.reset();
    } else {
      writer_.lost(number, words[0], "is unknown here");
    }
  }

  void global(const std::string& key, const std::vector<std::string>& words, const std::string& rest, unsigned number) {
    if (key == "default-driver" && rest == "iscsi") return;
    if (key == "incomingdiscoveryuser" || key == "outgoingdiscoveryuser") {
      if (words.size() < 3) return writer_.lost(number, words[0], "needs a user and a secret");
      return writer_.discovery(fmt::format("{} {} {}", key.starts_with("in") ? "incoming_user" : "outgoing_user",
                                           config_quoted(words[1]), config_quoted(words[2])));
    }
    const char* why = "has no counterpart";
    if (key == "include") why = "import that file too";
    if (key.starts_with("isns")) why = "iSNS is not spoken here";
    writer_.lost(number, words[0] + (rest.empty() ? "" : " " + rest), why);
  }

  void in_target(const std::string& key, const std::vector<std::string>& words, const std::string& rest,
                 unsigned number) {
    if (key == "backing-store" || key == "direct-store") {
      for (std::size_t at = 1; at < words.size(); ++at)
        stores_.push_back({.line = number, .path = words[at], .direct = key == "direct-store"});
    } else if (key == "incominguser" || key == "outgoinguser") {
      if (words.size() < 3) return writer_.lost(number, words[0], "needs a user and a secret");
      writer_.in_target(fmt::format("{} {} {}", key == "incominguser" ? "incoming_user" : "outgoing_user",
                                    config_quoted(words[1]), config_quoted(words[2])));
    } else if (key == "initiator-address" || key == "initiator-name") {
      auto& allowed = key == "initiator-address" ? addresses_ : initiators_;
      allowed.insert(allowed.end(), words.begin() + 1, words.end());
    } else if (key == "driver") {
      if (rest != "iscsi") writer_.lost(number, "driver " + rest, "only iSCSI is spoken here");
    } else if (key == "controller_tid") {
      writer_.note(number, words[0] + " " + rest, "not needed: targets have no numbers of their own");
    } else if (iscsi_words().contains(key)) {
      const std::string& ours = iscsi_words().at(key);
      if (const auto wrong = check_setting(*target_settings().find("target", ours), rest))
        return writer_.lost(number, words[0] + " " + rest, *wrong);
      writer_.in_target(fmt::format("{} {}", ours, config_quoted(rest)));
    } else if (key == "datapduinorder" || key == "datasequenceinorder" || key == "maxxmitdatasegmentlength" ||
               key.ends_with("marker") || key.ends_with("markint")) {
      writer_.note(number, words[0] + " " + rest, "not needed");
    } else if (unit_words().contains(key)) {
      whole_[key] = {number, rest};
    } else {
      writer_.lost(number, words[0] + (rest.empty() ? "" : " " + rest), "has no counterpart");
    }
  }

  // What tgt says about units, in the target or in a block of its own.
  static const std::set<std::string>& unit_words() {
    static const std::set<std::string> words{
        "write-cache",  "readonly",   "removable",    "online",  "bs-type",          "bsoflags", "block-size",
        "vendor_id",    "product_id", "product_rev",  "scsi_id", "scsi_sn",          "lun",      "device-type",
        "allow-in-use", "mode_page",  "sense_format", "params",  "thin-provisioning"};
    return words;
  }
  static const std::map<std::string, std::string>& iscsi_words() {
    static const std::map<std::string, std::string> words{{"maxrecvdatasegmentlength", "max_recv_segment"},
                                                          {"maxburstlength", "max_burst"},
                                                          {"firstburstlength", "first_burst"},
                                                          {"maxoutstandingr2t", "max_outstanding_r2t"},
                                                          {"initialr2t", "initial_r2t"},
                                                          {"immediatedata", "immediate_data"},
                                                          {"headerdigest", "header_digest"},
                                                          {"datadigest", "data_digest"},
                                                          {"maxconnections", "max_connections"},
                                                          {"errorrecoverylevel", "error_recovery_level"},
                                                          {"defaulttime2wait", "time2wait"},
                                                          {"defaulttime2retain", "time2retain"},
                                                          {"nop_interval", "nop_interval"}};
    return words;
  }

  // ALL beside others means what it means alone.
  void allow(const char* ours, std::vector<std::string>& allowed) {
    const auto all = [](const std::string& word) { return import_lower(word) == "all"; };
    if (std::ranges::none_of(allowed, all)) {
      for (const std::string& word : allowed) writer_.in_target(fmt::format("{} {}", ours, config_quoted(word)));
    }
    allowed.clear();
  }

  void end_target() {
    if (open_) {
      allow("allow_address", addresses_);
      allow("allow_initiator", initiators_);
    }
    if (store_) stores_.push_back(std::move(*store_));
    store_.reset();
    // tgt gives numbers to backing stores first, from 1: LUN 0 is its controller.
    std::ranges::stable_sort(stores_, {}, &TgtStore::direct);
    std::set<std::string> taken;
    for (const TgtStore& store : stores_) {
      if (const auto lun = store.settings.find("lun"); lun != store.settings.end()) taken.insert(lun->second.second);
    }
    unsigned next = 1;
    for (TgtStore& store : stores_) {
      store.settings.insert(whole_.begin(), whole_.end());
      std::string lun;
      if (const auto place = store.settings.find("lun"); place != store.settings.end()) {
        lun = place->second.second;
      } else {
        while (taken.contains(std::to_string(next))) ++next;
        lun = std::to_string(next++);
      }
      const std::string name = writer_.unit(store.line, unit_name_of_path(store.path), unit_lines(store));
      writer_.in_target(fmt::format("lun {} {}", lun, name));
    }
    stores_.clear();
    whole_.clear();
    open_ = false;
  }

  std::vector<std::string> unit_lines(const TgtStore& store) {
    const bool device = store.direct || store.path.starts_with("/dev/");
    std::vector<std::string> lines{fmt::format("path {}", config_quoted(store.path)),
                                   fmt::format("type {}", device ? "block" : "file")};
    if (store.direct)
      writer_.note(store.line, "direct-store",
                   "identities come from a UUID made with the unit, not from the disk behind it");
    for (const auto& [key, said] : store.settings) {
      const auto& [number, value] = said;
      const auto lose = [&](const char* why) { writer_.lost(number, key + " " + value, why); };
      if (key == "lun") continue;
      if (key == "write-cache")
        lines.push_back(fmt::format("write_cache {}", says_yes(value) ? "yes" : "no"));
      else if (key == "readonly")
        lines.push_back(fmt::format("read_only {}", says_yes(value) ? "yes" : "no"));
      else if (key == "removable")
        lines.push_back(fmt::format("removable {}", says_yes(value) ? "yes" : "no"));
      else if (key == "thin-provisioning")
        lines.push_back(fmt::format("thin {}", says_yes(value) ? "yes" : "no"));
      else if (key == "product_id" && value.size() <= 16)
        lines.push_back("product " + config_quoted(value));
      else if (key == "product_rev" && value.size() <= 4)
        lines.push_back("revision " + config_quoted(value));
      else if (key == "block-size" && (value == "512" || value == "4096"))
        lines.push_back("block_size " + value);
      else if (key == "bsoflags" && value.find("direct") != value.npos)
        lines.emplace_back("direct yes");
      else if (key == "bs-type" && (value == "rdwr" || value == "aio"))
        continue;
      else if (key == "bs-type" && value == "null")
        lose("add type null and a size to the lu");
      else if (key == "device-type" && value == "disk")
        continue;
      else if (key == "allow-in-use")
        writer_.note(number, key + " " + value, "a store is opened by one process only");
      else if (key == "scsi_id" || key == "scsi_sn" || key == "vendor_id")
        lose("identities come from a UUID made with the unit: initiators see a new disk");
      else if (unit_words().contains(key))
        lose("cannot be expressed");
      else
        lose("is unknown here");
    }
    return lines;
  }

  ImportWriter writer_;
  bool open_ = false;
  std::optional<TgtStore> store_;
  std::vector<TgtStore> stores_;
  std::vector<std::string> addresses_, initiators_;
  std::map<std::string, std::pair<unsigned, std::string>> whole_;
};

}  // namespace

Imported import_tgt(std::string_view text, const std::string& file) {
  TgtImport import(file);
  for (unsigned number = 1; !text.empty(); ++number) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    const auto words = import_words(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
    if (!words.empty()) import.line(words, number);
  }
  return import.finish();
}

}  // namespace mpath::target
