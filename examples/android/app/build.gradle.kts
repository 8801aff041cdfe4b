plugins {
    // Compiles Kotlin as well, since version 9.
    alias(libs.plugins.android.application)
}

// A file for the Larq Compute Engine needs its AAR, which replaces LiteRT: both define the same classes.
val engine = fileTree("libs") { include("*.aar") }

android {
    namespace = "org.kerassbn.classifier"
    compileSdk = 36

    defaultConfig {
        applicationId = "org.kerassbn.classifier"
        minSdk = 28
        targetSdk = 36
        versionCode = 1
        versionName = "1.0"
    }

    compileOptions {
        sourceCompatibility = JavaVersion.VERSION_17
        targetCompatibility = JavaVersion.VERSION_17
    }

    androidResources {
        // The interpreter maps the model into memory, which a compressed asset does not allow.
        noCompress += "tflite"
    }
}

dependencies {
    if (engine.isEmpty) {
        implementation(libs.litert)
        implementation(libs.litert.api)
    } else {
        implementation(engine)
    }
}
