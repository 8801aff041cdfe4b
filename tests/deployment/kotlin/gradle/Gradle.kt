// Declarations of what the project's Gradle scripts use of Gradle and of the Android plugin.

@file:Suppress("UNUSED_PARAMETER", "unused")

package gradle

open class Dependency

class Alias

class Plugin {
    infix fun apply(now: Boolean): Plugin = this
}

class Plugins {
    fun alias(plugin: Alias): Plugin = Plugin()
}

class Repositories {
    fun google() = Unit

    fun mavenCentral() = Unit

    fun gradlePluginPortal() = Unit
}

class PluginManagement {
    fun repositories(block: Repositories.() -> Unit) = Repositories().block()
}

enum class RepositoriesMode { FAIL_ON_PROJECT_REPOS }

class Property<T>(private var value: T) {
    fun set(to: T) {
        value = to
    }
}

class Resolution {
    val repositoriesMode = Property(RepositoriesMode.FAIL_ON_PROJECT_REPOS)

    fun repositories(block: Repositories.() -> Unit) = Repositories().block()
}

class RootProject {
    var name = ""
}

class Settings {
    val rootProject = RootProject()

    fun pluginManagement(block: PluginManagement.() -> Unit) = PluginManagement().block()

    fun dependencyResolutionManagement(block: Resolution.() -> Unit) = Resolution().block()

    fun include(vararg modules: String) = Unit
}

class Files : Dependency() {
    val isEmpty = true

    fun include(vararg patterns: String) = Unit
}

class DefaultConfig {
    var applicationId: String? = null
    var minSdk: Int? = null
    var targetSdk: Int? = null
    var versionCode: Int? = null
    var versionName: String? = null
}

enum class JavaVersion { VERSION_17 }

class CompileOptions {
    var sourceCompatibility = JavaVersion.VERSION_17
    var targetCompatibility = JavaVersion.VERSION_17
}

class AndroidResources {
    val noCompress: MutableCollection<String> = mutableListOf()
}

class Android {
    var namespace: String? = null
    var compileSdk: Int? = null

    fun defaultConfig(block: DefaultConfig.() -> Unit) = DefaultConfig().block()

    fun compileOptions(block: CompileOptions.() -> Unit) = CompileOptions().block()

    fun androidResources(block: AndroidResources.() -> Unit) = AndroidResources().block()
}

class Dependencies {
    fun implementation(what: Dependency) = Unit
}

class Project {
    fun plugins(block: Plugins.() -> Unit) = Plugins().block()

    fun android(block: Android.() -> Unit) = Android().block()

    fun dependencies(block: Dependencies.() -> Unit) = Dependencies().block()

    fun fileTree(folder: String, block: Files.() -> Unit): Files = Files().apply(block)
}
